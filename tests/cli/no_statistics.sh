# A network without BatchNormalization: a sentence with the remedy; estimates of its statistics, named as such, or random
# images only where they are asked for
zeroq quantize no_bn.onnx -o out.onnx
echo "-> $?"
ls | grep out || echo 'no out file'
zeroq inspect no_bn.onnx
zeroq quantize no_bn.onnx -o out.onnx --distill noise
echo "-> $?"
zeroq quantize no_bn.onnx -o out.onnx --estimate-bn --report report.html --json report.json
echo "-> $?"
grep -o 'those expected here are estimates' report.html
python3 -c "import json; print(json.load(open('report.json'))['model']['batch_normalization']['estimated'])"
zeroq pareto no_bn.onnx --json f.json --estimate-bn -q && zeroq quantize no_bn.onnx -o other.onnx --from f.json -q
cmp out.onnx other.onnx && echo same file
zeroq quantize no_bn.onnx -o out.onnx --estimate-bn --from f.json
echo "-> $?"
