// A resolver that nobody answers: preloaded into a process, this keeps every look-up of a name waiting
// for a minute and a half, and then says that it may be tried again.

#include <netdb.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    (void)node, (void)service, (void)hints, (void)result;
    sleep(90);
    return EAI_AGAIN;
}
