# A limit of memory is kept ...
zeroq quantize tiny.onnx -o out.onnx --size w4 --memory 200MB -q && ls out.onnx
zeroq distill tiny.onnx -o images.npy --memory=0.2GB -q && ls images.npy
# ... or refused before the work: status 7, and what it would take
zeroq quantize tiny.onnx -o other.onnx --size w4 --memory 64.1MB
echo "-> $?"
zeroq pareto tiny.onnx --json f.json --memory 64.1MB
echo "-> $?"
zeroq distill tiny.onnx -o other.npy --memory 64.1MB
echo "-> $?"
zeroq distill tiny.onnx -o other.npy --memory 10MB
echo "-> $?"
zeroq distill tiny.onnx -o other.npy --memory 10
echo "-> $?"
ls | grep -E 'other|json' || echo 'no other file'
