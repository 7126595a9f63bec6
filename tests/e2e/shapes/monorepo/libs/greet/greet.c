#include "greet.h"

#include <stdio.h>

void Greet(const char* service) { printf("greetings of %s\n", service); }
