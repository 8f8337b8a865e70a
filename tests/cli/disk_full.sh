# Files that may not grow past 512 bytes stand for a full disk: nothing half-written stays behind
trap '' XFSZ
ulimit -f 1
zeroq quantize tiny.onnx -o out.onnx
echo "-> $?"
zeroq distill tiny.onnx -o out.npy
echo "-> $?"
ls | grep out || echo 'no out file'
