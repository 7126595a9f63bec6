#include <stdio.h>

int main(void) {
  puts("hello from a farm");
  return 0;
}
