#include <greet/greet.h>

int main(void) {
  Greet("api");
  return 0;
}
