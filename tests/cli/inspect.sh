zeroq inspect tiny.onnx
