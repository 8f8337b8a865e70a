zeroq distill tiny.onnx -o images.npy --png sheet.png --num-images 6
head -c 6 images.npy | tail -c 5
echo
head -c 4 sheet.png | tail -c 3
echo
