# Ctrl-C in the middle (one, hence --foreground): status 9, no file
timeout --foreground --preserve-status -s INT 2 zeroq quantize tiny.onnx -o out.onnx --steps 100000 --num-images 256
echo "-> $?"
ls | grep out || echo 'no out file'
