"""The compiled core: C++ in `*.hpp` and `*.cpp`, its interface in `abi.h`, and what loads it."""
