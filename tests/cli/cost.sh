# What a size counts
zeroq quantize tiny.onnx -o out.onnx --size w3 --cost bits --bits 3 | sed -n 3p
zeroq quantize tiny.onnx -o out.onnx --size w4 --cost bops | sed -n 3p
rm out.onnx
refused() {
    zeroq quantize tiny.onnx -o out.onnx "$@" 2>&1
    echo "-> $?"
}
refused --cost bits --size 10B
refused --cost bops --size 0.001MBOPS
refused --cost bops --size 10KB
refused --cost seconds
ls | grep out || echo 'no out file'
