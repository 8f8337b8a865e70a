# The summary; no progress, since this is no terminal
zeroq quantize tiny.onnx -o out.onnx --json report.json --png sheet.png
ls *.json *.png out*
for effort in fast best heroic; do
    zeroq quantize tiny.onnx -o out.onnx --effort $effort 2>&1 | grep -o 'zeroq: .* for option --effort\|[0-9]* distilled in [0-9]* steps'
done
zeroq quantize tiny.onnx -o out.onnx --effort best --num-images 8 --steps 1 | grep -o '[0-9]* distilled in [0-9]* step\|learn'
