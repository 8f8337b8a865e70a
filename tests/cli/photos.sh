# Calibration on photos, and what is wrong with a folder of them
zeroq quantize tiny.onnx -o out.onnx --images photos --input-max 255 --input-mean 120 --input-std 60 --resize pad
zeroq quantize no_bn.onnx -o no_bn.q.onnx --images photos --input-max 1 --input-bgr --num-images 2 -q && ls no_bn.q.onnx
try() {
    zeroq quantize tiny.onnx -o none.onnx --input-max 1 --images "$@" 2>&1
    echo "-> $?"
}
try no_such_folder
try tiny.onnx
mkdir empty text cut
try empty
echo 'not a photo' > text/a.jpg
try text
head -c 300 photos/b.jpg > cut/b.jpg
try cut
try photos --resize bigger
ls none.onnx 2>/dev/null || echo 'no file was left'
