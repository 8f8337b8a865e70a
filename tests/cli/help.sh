# What a newcomer sees first
zeroq --help
echo
zeroq --version
