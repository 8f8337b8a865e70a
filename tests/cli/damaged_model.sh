# Damaged models: status 4, whatever the command
try() {
    zeroq "$@" 2>&1
    echo "-> $?"
}
head -c 1000 tiny.onnx > truncated.onnx
: > empty.onnx
echo 'not a model' > text.onnx
for model in truncated empty text cycle missing_weight nan negative_variance; do
    try quantize $model.onnx -o out.onnx
done
try inspect truncated.onnx
ls | grep out || echo 'no out file'
