# The summary; no progress, since this is no terminal
zeroq quantize tiny.onnx -o out.onnx --json report.json --png sheet.png
ls *.json *.png out*
