# A second run replaces the file, and a failing one leaves it alone
zeroq quantize tiny.onnx -o out.onnx --quiet
cp out.onnx first.onnx
zeroq quantize tiny.onnx -o out.onnx --quiet && cmp out.onnx first.onnx && echo same
zeroq quantize nan.onnx -o out.onnx --quiet 2>/dev/null
echo "-> $?"
cmp out.onnx first.onnx && ls out*
