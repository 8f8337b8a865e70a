# Files that may not grow past 1536 bytes (OpenMP wants 1024 of its own) stand for a full disk: nothing half-written stays behind
trap '' XFSZ
ulimit -f 3
zeroq quantize tiny.onnx -o out.onnx
echo "-> $?"
zeroq distill tiny.onnx -o out.npy
echo "-> $?"
zeroq pareto tiny.onnx --distill noise -q --json out.json
echo "-> $?"
ls | grep out || echo 'no out file'
