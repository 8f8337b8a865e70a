# No output ever goes to the model, or two to one file: status 2
try() {
    zeroq "$@" 2>&1
    echo "-> $?"
}
cp tiny.onnx before.onnx
ln -s tiny.onnx link.onnx
try quantize tiny.onnx -o ./tiny.onnx
try quantize tiny.onnx -o link.onnx
try quantize tiny.onnx -o out.onnx --json tiny.onnx
try quantize tiny.onnx -o out.onnx --png tiny.onnx
try distill tiny.onnx -o tiny.onnx
try inspect tiny.onnx --json tiny.onnx
try quantize tiny.onnx -o out.onnx --json out.onnx
cmp tiny.onnx before.onnx
test ! -e out.onnx || echo "out.onnx was written"
