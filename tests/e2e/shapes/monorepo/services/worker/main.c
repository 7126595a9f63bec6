#include <greet/greet.h>

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) Greet(argv[i]);
  return 0;
}
