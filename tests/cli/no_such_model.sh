# Models that can't be read: status 3
try() {
    zeroq "$@" 2>&1
    echo "-> $?"
}
mkdir folder.onnx
try quantize missing.onnx -o out.onnx
try inspect folder.onnx
try distill /dev/null -o out.npy
ls | grep out || echo 'no out file'
