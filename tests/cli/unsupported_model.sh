zeroq quantize unsupported.onnx -o out.onnx
