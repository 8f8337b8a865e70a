# Each of these is a mistake in the command line: one sentence, status 2
try() {
    zeroq "$@" 2>&1
    echo "-> $?"
}
try
try quantise tiny.onnx
try quantize
try quantize tiny.onnx
try quantize tiny.onnx no_bn.onnx -o out.onnx
try quantize tiny.onnx -o
try quantize tiny.onnx -o out.onnx --widths 4
try inspect tiny.onnx -o out.onnx
try quantize tiny.onnx -o out.onnx --threads 0
try quantize tiny.onnx -o out.onnx --threads=two
try quantize tiny.onnx -o out.onnx --seed -1
try quantize tiny.onnx -o out.onnx --distill slow
try quantize tiny.onnx -o out.onnx --activations 9
try quantize tiny.onnx -o out.onnx --activations mixed:9
try quantize tiny.onnx -o out.onnx --activations mixed:
try quantize tiny.onnx -o out.onnx --range 101
try quantize tiny.onnx -o out.onnx --clip 10
try quantize tiny.onnx -o out.onnx --input-mean 1,2 --input-std 1,2,3
try quantize tiny.onnx -o out.onnx --input-max 1 --input-mean 1,2
try quantize tiny.onnx -o out.onnx --num-images 100000
try quantize tiny.onnx -o out.onnx --size w1
try quantize tiny.onnx -o out.onnx --size small
try quantize tiny.onnx -o tiny.onnx
ls | grep out || echo 'no out file'
cmp tiny.onnx "$(dirname "$0")/models/tiny.onnx"
