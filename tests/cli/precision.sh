# A processor that doesn't multiply bfloat16 says so, and computes in float unless told
export ONEDNN_MAX_CPU_ISA=AVX2
zeroq distill tiny.onnx -o out.npy --precision bf16 2>&1
echo "-> $?"
zeroq distill tiny.onnx -o out.npy --num-images 8 --quiet --json out.json
grep -o '"precision": *"[a-z0-9]*"' out.json
zeroq distill tiny.onnx -o out.npy --precision half 2>&1 | head -1
