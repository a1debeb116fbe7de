#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "config/tree.h"

static const char dev_options[] =
    "  --nodes N            dev: number of nodes, default 3\n"
    "  --threads N          dev: request threads of each node, default one per core\n"
    "  --dir DIR            dev: directory, default $RINGFORT_DEV_DIR or /tmp/ringfort-dev\n"
    "  --port PORT          dev: first port, default 7443\n"
    "  --keep               dev: keep the directory at the end\n";

/* Is it that word, or does it begin with it? NULL: every command. */
static bool is_of_group(const struct rf_command *command, const char *group)
{
    size_t n = group == NULL ? 0 : strlen(group);
    return n == 0 || (strncmp(command->name, group, n) == 0 &&
                      (command->name[n] == 0 || command->name[n] == ' '));
}

/* Returns how many there are. */
static int print_commands(FILE *to, const char *group)
{
    int n = 0;
    for (int i = 0; i < rf_n_commands; i++) {
        char line[64];
        if (is_of_group(&rf_commands[i], group)) {
            snprintf(line, sizeof(line), "%s %s", rf_commands[i].name, rf_commands[i].words);
            fprintf(to, "  %-24s %s\n", line, rf_commands[i].help);
            n++;
        }
    }
    return n;
}

static int count_commands(const char *group)
{
    int n = 0;
    for (int i = 0; i < rf_n_commands; i++) {
        n += is_of_group(&rf_commands[i], group);
    }
    return n;
}

/* Help for one command, or for a word that several begin with. */
static void print_command_help(const char *group)
{
    const struct rf_command *command = NULL;
    for (int i = 0; i < rf_n_commands && command == NULL; i++) {
        command = is_of_group(&rf_commands[i], group) ? &rf_commands[i] : NULL;
    }
    if (count_commands(group) == 1) {
        printf("usage: ringfort %s %s\n  %s\n\nOptions: ringfort --help\n", command->name,
               command->words, command->help);
        return;
    }
    printf("usage: ringfort %s COMMAND [WORDS] [OPTIONS]\n\ncommands:\n", group);
    print_commands(stdout, group);
    if (strcmp(group, "dev") == 0) {
        printf("\noptions:\n%s", dev_options);
    }
    puts("\nMore options: ringfort --help");
}

/* The words are no command, or more words than it takes: says what is near, and what there is. */
static int unknown_command(char **words, int n_words)
{
    char        text[128];
    const char *names[64];
    uint32_t    n = 0;
    bool        group = count_commands(words[0]) > 1;
    snprintf(text, sizeof(text), "%.60s%s%.60s", words[0], n_words > 1 && group ? " " : "",
             n_words > 1 && group ? words[1] : "");
    for (int i = 0; i < rf_n_commands && n < 64; i++) {
        if (!group || is_of_group(&rf_commands[i], words[0])) {
            names[n++] = rf_commands[i].name;
        }
    }
    const char *meant = rf_did_you_mean(text, names, n);
    fprintf(stderr, "ringfort: unknown command '%s'%s%s%s", text,
            meant == NULL ? "" : "; did you mean '", meant == NULL ? "" : meant,
            meant == NULL ? "" : "'?");
    if (group) {
        fputs("; there are:\n", stderr);
        print_commands(stderr, words[0]);
    } else {
        fputs("; see ringfort --help\n", stderr);
    }
    return RF_EXIT_USAGE;
}

static void print_help(FILE *to)
{
    fputs("ringfort " RF_VERSION ": the command-line client of Ringfort\n\n"
          "usage: ringfort COMMAND [WORDS] [OPTIONS]\n\ncommands:\n",
          to);
    print_commands(to, NULL);
    fputs("\noptions:\n"
          "  --url URL            server, default $RINGFORT_URL or https://127.0.0.1:7443\n"
          "  --ca FILE            CA certificate, default $RINGFORT_CA\n"
          "  --token TOKEN        bearer token, default $RINGFORT_TOKEN\n"
          "  --table NAME         table, default 'default'\n"
          "  --strong             read with a quorum\n"
          "  --raw                get: the bytes exactly, without a newline at the end\n"
          "  --ttl SECONDS        time to live of what is put\n"
          "  -o json              print the server's JSON answer\n",
          to);
    fputs(dev_options, to);
    fputs("\nenvironment:\n"
          "  RINGFORT_URL, RINGFORT_CA, RINGFORT_TOKEN, RINGFORT_DEV_DIR stand for --url, --ca,\n"
          "  --token and --dir; eval \"$(ringfort dev env)\" sets them for a development cluster\n"
          "\nexit codes: 0 done, 1 failed, 2 not found or configuration not valid,\n"
          "            64 used wrongly, 69 no server\n",
          to);
}

static const char *env_or(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value == NULL || value[0] == 0 ? otherwise : value;
}

static bool parse_count(const char *text, long max, long *ret_value)
{
    char *end = NULL;
    long  value = strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || value < 1 || value > max) {
        return false;
    }
    *ret_value = value;
    return true;
}

static const struct option options[] = {
    {"url", required_argument, NULL, 'u'},   {"ca", required_argument, NULL, 'c'},
    {"token", required_argument, NULL, 't'}, {"table", required_argument, NULL, 'T'},
    {"strong", no_argument, NULL, 's'},      {"raw", no_argument, NULL, 'R'},
    {"ttl", required_argument, NULL, 'l'},   {"output", required_argument, NULL, 'o'},
    {"nodes", required_argument, NULL, 'n'}, {"dir", required_argument, NULL, 'd'},
    {"port", required_argument, NULL, 'p'},  {"threads", required_argument, NULL, 'r'},
    {"keep", no_argument, NULL, 'k'},        {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},     {NULL, 0, NULL, 0},
};

/* @param option ':' when the value is missing, else the option is not known. */
static int unknown_option(int option, const char *name)
{
    const char *names[sizeof(options) / sizeof(options[0])];
    uint32_t    n = 0;
    for (const struct option *row = options; row->name != NULL; row++) {
        names[n++] = row->name;
    }
    const char *meant = strncmp(name, "--", 2) == 0 ? rf_did_you_mean(name + 2, names, n) : NULL;
    if (option == ':') {
        fprintf(stderr, "ringfort: %s needs a value\n", name);
    } else if (meant != NULL) {
        fprintf(stderr, "ringfort: unknown option %s; did you mean --%s?\n", name, meant);
    } else {
        fprintf(stderr, "ringfort: unknown option %s; see ringfort --help\n", name);
    }
    return RF_EXIT_USAGE;
}

/* Returns -1 to go on, else the exit code. @param name as it was written, for messages. */
static int take_option(struct rf_cli *cli, int option, const char *name)
{
    bool valid = true;
    switch (option) {
    case 'u':
        cli->url = optarg;
        break;
    case 'c':
        cli->ca = optarg;
        break;
    case 't':
        cli->token = optarg;
        break;
    case 'T':
        cli->table = optarg;
        break;
    case 's':
        cli->strong = true;
        break;
    case 'l':
        valid = parse_count(optarg, 315360000, &cli->ttl_s);
        break;
    case 'o':
        cli->json = true;
        valid = strcmp(optarg, "json") == 0;
        break;
    case 'n':
        valid = parse_count(optarg, 32, &cli->nodes);
        break;
    case 'd':
        cli->dir = optarg;
        break;
    case 'p':
        valid = parse_count(optarg, 65000, &cli->port);
        break;
    case 'r':
        valid = parse_count(optarg, 64, &cli->threads);
        break;
    case 'R':
        cli->raw = true;
        break;
    case 'k':
        cli->keep = true;
        break;
    case 'h':
        cli->help = true;
        break;
    case 'v':
        puts("ringfort " RF_VERSION);
        return RF_EXIT_OK;
    default:
        return unknown_option(option, name);
    }
    if (!valid) {
        fprintf(stderr, "ringfort: '%s' is not a value for %s; see ringfort --help\n", optarg,
                name);
        return RF_EXIT_USAGE;
    }
    return -1;
}

/* The command with the most words that the line begins with. */
static const struct rf_command *find_command(struct rf_cli *cli)
{
    char two[64] = "";
    if (cli->n_words >= 2) {
        snprintf(two, sizeof(two), "%.30s %.30s", cli->words[0], cli->words[1]);
    }
    for (int pass = 2; pass >= 1; pass--) {
        for (int i = 0; i < rf_n_commands && cli->n_words >= pass; i++) {
            if (strcmp(rf_commands[i].name, pass == 2 ? two : cli->words[0]) == 0) {
                cli->words += pass;
                cli->n_words -= pass;
                return &rf_commands[i];
            }
        }
    }
    return NULL;
}

static const struct rf_command *command_with_own_options(int argc, char **argv)
{
    for (int i = 0; i < rf_n_commands && argc >= 2; i++) {
        if (rf_commands[i].min == RF_OWN_OPTIONS && strcmp(rf_commands[i].name, argv[1]) == 0) {
            return &rf_commands[i];
        }
    }
    return NULL;
}

static int run_command(struct rf_cli *cli)
{
    char                   **words = cli->words;
    int                      n_words = cli->n_words;
    const struct rf_command *command = find_command(cli);
    bool                     group = count_commands(words[0]) > 1;
    if (cli->help && (command != NULL || group)) {
        print_command_help(command != NULL ? command->name : words[0]);
        return RF_EXIT_OK;
    }
    if (command == NULL || (group && command->max == 0 && cli->n_words > 0)) {
        return unknown_command(words, n_words);
    }
    if (command->min == RF_OWN_OPTIONS) { /* after options that stand anywhere */
        cli->words--;
        cli->n_words++;
        return command->run(cli);
    }
    if (cli->n_words < command->min || cli->n_words > command->max) {
        fprintf(stderr, "usage: ringfort %s %s\n", command->name, command->words);
        return RF_EXIT_USAGE;
    }
    return command->run(cli);
}

int main(int argc, char **argv)
{
    struct rf_cli cli = {
        .url = env_or("RINGFORT_URL", "https://127.0.0.1:7443"),
        .ca = env_or("RINGFORT_CA", NULL),
        .token = env_or("RINGFORT_TOKEN", NULL),
        .dir = env_or("RINGFORT_DEV_DIR", "/tmp/ringfort-dev"),
        .nodes = 3,
        .port = 7443,
        .self = argv[0],
    };
    const struct rf_command *own = command_with_own_options(argc, argv);
    if (own != NULL) {
        cli.words = argv + 1;
        cli.n_words = argc - 1;
        return own->run(&cli);
    }
    int option = 0;
    opterr = 0; /* we say it ourselves */
    while ((option = getopt_long(argc, argv, ":o:hv", options, NULL)) != -1) {
        bool apart = optarg != NULL && argv[optind - 1] == optarg; /* "--ttl 5", not "--ttl=5" */
        int  code = take_option(&cli, option, argv[optind - (apart ? 2 : 1)]);
        if (code >= 0) {
            return code;
        }
    }
    cli.words = argv + optind;
    cli.n_words = argc - optind;
    if (cli.n_words != 0 && strcmp(cli.words[0], "help") == 0) {
        cli.help = true;
        cli.words++;
        cli.n_words--;
    }
    if (cli.n_words == 0) {
        print_help(cli.help ? stdout : stderr);
        return cli.help ? RF_EXIT_OK : RF_EXIT_USAGE;
    }
    return run_command(&cli);
}
