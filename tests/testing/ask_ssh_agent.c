// ask-ssh-agent list | sign TEXT | kind N, for steps: an ssh client's part of the agent protocol, with
// no library of its root. It asks the agent at $SSH_AUTH_SOCK and prints
//   list    how many keys it has
//   sign    its signature of TEXT by the first key, in hex
//   kind    the kind of its answer to a request of kind N without anything else
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static unsigned char buffer[1 << 18];

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static uint32_t number(const unsigned char* bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static unsigned char* put(unsigned char* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = (unsigned char)(value >> (24 - 8 * i));
  return at + 4;
}

static void read_all(int fd, unsigned char* to, size_t size) {
  while (size > 0) {
    const ssize_t n = read(fd, to, size);
    if (n <= 0) fail("read");
    to += n;
    size -= (size_t)n;
  }
}

// Sends the `size` bytes of the message at buffer + 4 and receives the answer there; its size.
static uint32_t ask(int fd, uint32_t size) {
  put(buffer, size);
  if (write(fd, buffer, size + 4) != (ssize_t)size + 4) fail("write");
  read_all(fd, buffer, 4);
  const uint32_t answer = number(buffer);
  if (answer == 0 || answer > sizeof(buffer) - 4) exit(3);
  read_all(fd, buffer + 4, answer);
  return answer;
}

int main(int argc, char** argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char* path = getenv("SSH_AUTH_SOCK");
  if (argc < 2 || path == NULL || strlen(path) >= sizeof(address.sun_path)) return 2;
  strcpy(address.sun_path, path);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, (const struct sockaddr*)&address, sizeof(address)) != 0) fail(path);
  if (strcmp(argv[1], "kind") == 0) {
    buffer[4] = (unsigned char)atoi(argv[2]);
    ask(fd, 1);
    printf("%d\n", buffer[4]);
    return 0;
  }
  buffer[4] = 11;
  ask(fd, 1);
  if (buffer[4] != 12) return 3;
  if (strcmp(argv[1], "list") == 0) {
    printf("%u\n", number(buffer + 5));
    return 0;
  }
  // Kind, key, data, flags. The key is where it stands in the list, but for the count before it.
  const uint32_t key = number(buffer + 9), text = (uint32_t)strlen(argv[2]);
  memmove(buffer + 5, buffer + 9, key + 4);
  buffer[4] = 13;
  unsigned char* end = put(buffer + 9 + key, text);
  memcpy(end, argv[2], text);
  end = put(end + text, 0);
  const uint32_t answer = ask(fd, (uint32_t)(end - buffer) - 4);
  if (buffer[4] != 14) return 3;
  for (uint32_t i = 0; i < answer; ++i) printf("%02x", buffer[4 + i]);
  printf("\n");
  return 0;
}
