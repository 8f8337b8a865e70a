# The smallest network that keeps a damage, and damage that can't be kept
zeroq quantize tiny.onnx -o out.onnx --max-kl 0.05 --min-agreement 50% | sed -n '4p'
zeroq quantize tiny.onnx -o out.onnx --max-kl 1e6 --min-agreement 0 | sed -n '3p'
rm out.onnx
refused() {
    zeroq quantize tiny.onnx -o out.onnx "$@" 2>&1
    echo "-> $?"
}
refused --size w2 --max-kl 1e-9
refused --min-agreement 101%
refused --max-kl 0
ls | grep out || echo 'no out file'
