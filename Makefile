# SPDX-License-Identifier: Apache-2.0
# A short front for CMake: the program is build/zeroq, the library lies beside it.
BUILD ?= build
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=

.PHONY: all
all:
	@cmake -S . -B $(BUILD) $(CMAKE_FLAGS) > /dev/null
	@cmake --build $(BUILD) -j $(JOBS)
