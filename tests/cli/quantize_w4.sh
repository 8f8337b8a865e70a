# Values may follow an = as well
zeroq quantize tiny.onnx --size=w4 --output=out.onnx
