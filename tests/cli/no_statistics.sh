# A network without BatchNormalization: a sentence with the remedy, and random images only where they are asked for
zeroq quantize no_bn.onnx -o out.onnx
echo "-> $?"
ls | grep out || echo 'no out file'
zeroq inspect no_bn.onnx
zeroq quantize no_bn.onnx -o out.onnx --distill noise
echo "-> $?"
