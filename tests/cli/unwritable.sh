# Outputs that can't be written are refused before the work: status 3
try() {
    zeroq "$@" 2>&1
    echo "-> $?"
}
mkdir folder
try quantize tiny.onnx -o nowhere/out.onnx
try quantize tiny.onnx -o folder
try quantize tiny.onnx -o /dev/full
try distill tiny.onnx -o /dev/full
try quantize tiny.onnx -o out.onnx --quiet --json nowhere/report.json
try quantize tiny.onnx -o out.onnx --quiet --png folder
