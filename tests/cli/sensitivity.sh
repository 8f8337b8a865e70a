# How sensitivities are measured, and that the frontier in a file keeps it
for how in sampled exact fisher; do
    zeroq pareto tiny.onnx -q --sensitivity $how --json $how.json
    grep -o '"sensitivity_method": *"[a-z]*"' $how.json
    zeroq quantize tiny.onnx -q -o a.onnx --size w4 --sensitivity $how
    zeroq quantize tiny.onnx -q -o b.onnx --size w4 --from $how.json --json report.json
    cmp a.onnx b.onnx
    grep -o '"sensitivity_method": *"[a-z]*"' report.json
done
zeroq quantize tiny.onnx -o out.onnx --sensitivity guess 2>&1
zeroq quantize tiny.onnx -o out.onnx --from exact.json --sensitivity fisher 2>&1
ls | grep out || echo 'no out file'
