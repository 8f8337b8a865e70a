zeroq quantize tiny.onnx -o out.onnx --quiet
zeroq distill tiny.onnx -o images.npy -q
ls *.npy out*
