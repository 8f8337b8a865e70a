# Activations of several widths, six bits in the mean or as many as asked for; the same from a frontier; the report
zeroq quantize tiny.onnx -o mixed.onnx --activations mixed --size w4 --num-images 8 --seed 1 --report mixed.html
zeroq quantize tiny.onnx -o 4.onnx --activations mixed:4 --cost bops --size w4 --num-images 8 --seed 1 | grep weights
zeroq pareto tiny.onnx --activations mixed --json f.json --num-images 8 --seed 1 -q
zeroq quantize tiny.onnx -o again.onnx --from f.json --size w4 -q
cmp mixed.onnx again.onnx && echo the same
grep -o '[0-9]* values are quantized to [^.]*.[^.]*' mixed.html
grep -c ', one width for activations' mixed.html
grep -o '</b>, [4-8] bits' mixed.html | sort | uniq -c
