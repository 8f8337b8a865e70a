# Layers that have their width, those that stay FP32, and what is wrong with either
zeroq quantize tiny.onnx -o out.onnx --size w4 --bits 4,8 --keep conv1=8 --keep scores=8 --exclude conv2 | sed -n 3p
zeroq quantize tiny.onnx -o out.onnx --size w2 --keep-first-last | sed -n 3p
rm out.onnx
refused() {
    zeroq quantize tiny.onnx -o out.onnx "$@" 2>&1
    echo "-> $?"
}
refused --keep cnov1=8
refused --exclude pool
refused --keep conv1=7
refused --keep conv1
refused --keep conv1=4 --keep conv1=8
refused --keep conv1=4 --exclude conv1
refused --exclude conv1 --exclude conv2 --exclude scores
refused --bits 4,16
refused --size w4 --bits 8
ls | grep out || echo 'no out file'
