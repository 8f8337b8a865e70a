# A limit that can't be kept: status 7, and the size that could be
zeroq quantize tiny.onnx -o out.onnx --size 500B
echo "-> $?"
ls | grep out || echo 'no out file'
