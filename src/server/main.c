#include <stdio.h>
#include <string.h>

#include "server/server.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("ringfortd " RF_VERSION);
        return 0;
    }
    if (argc != 3 || strcmp(argv[1], "--config") != 0) {
        fputs("usage: ringfortd --config FILE | --version\n", stderr);
        return 64;
    }
    return rf_server_run(argv[2]);
}
