# Two files on distilled images, on photos, and each with itself; what can't be compared gets a sentence
zeroq quantize tiny.onnx -o tiny.q.onnx --size w4 -q
zeroq compare tiny.onnx tiny.q.onnx
zeroq compare tiny.onnx tiny.q.onnx --images photos --input-max 1 --json compare.json
grep -c '"snr_db"' compare.json
zeroq compare tiny.q.onnx tiny.q.onnx --num-images 3
zeroq compare no_bn.onnx tiny.onnx 2>&1 || echo "-> $?"
zeroq compare tiny.onnx 2>&1 || echo "-> $?"
zeroq compare tiny.onnx unsupported.onnx 2>&1 || echo "-> $?"
zeroq compare tiny.onnx tiny.q.onnx --images photos 2>&1 || echo "-> $?"
zeroq compare a b c 2>&1 || echo "-> $?"
zeroq quantize tiny.q.onnx -o q.q.onnx 2>&1 || echo "-> $?"
