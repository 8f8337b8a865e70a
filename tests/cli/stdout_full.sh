zeroq inspect tiny.onnx > /dev/full
