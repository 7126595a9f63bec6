#ifndef FARM_TESTS_E2E_SHAPES_MONOREPO_LIBS_GREET_GREET_H_
#define FARM_TESTS_E2E_SHAPES_MONOREPO_LIBS_GREET_GREET_H_

// Prints a greeting of `service`.
void Greet(const char* service);

#endif  // FARM_TESTS_E2E_SHAPES_MONOREPO_LIBS_GREET_GREET_H_
