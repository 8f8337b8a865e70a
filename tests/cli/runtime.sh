# Files for other runtimes: 8 bits, and a sentence where anything else is asked for
zeroq quantize tiny.onnx -o openvino.onnx --runtime openvino | sed -n 3p
zeroq quantize tiny.onnx -o tensorrt.onnx --runtime tensorrt --keep conv1=8 --bits 8 | sed -n 3p
zeroq compare tiny.onnx tensorrt.onnx | grep -c top-1
refused() {
    zeroq quantize tiny.onnx -o out.onnx "$@" 2>&1
    echo "-> $?"
}
refused --runtime tflite
refused --runtime openvino --size w4
refused --runtime tensorrt --bits 4,8
refused --runtime tensorrt --keep conv1=4
refused --runtime tensorrt --activations 6
refused --runtime openvino --activations mixed
refused --runtime tensorrt --weights asymmetric
refused --runtime tensorrt --size 1KB
zeroq pareto tiny.onnx --json f.json -q
refused --runtime tensorrt --from f.json
refused --activations mixed --from f.json
ls | grep out || echo 'no out file'
