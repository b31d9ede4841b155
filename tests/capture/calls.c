/* Calls every function that the recorder stands in front of, once, on files of the working directory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void closed(int fd) { if (fd < 0) perror("open"); else close(fd); }
static void fclosed(FILE *file) { if (file == NULL) perror("fopen"); else fclose(file); }

static void opens(void)
{
    int here = open(".", O_RDONLY | O_DIRECTORY);
    closed(open("read", O_RDONLY));
    closed(open64("read64", O_RDONLY));
    closed(openat(here, "readat", O_RDONLY));
    closed(openat64(here, "folder/../readat64", O_RDONLY));
    closed(open("new", O_WRONLY | O_CREAT, 0644));
    closed(open("old", O_WRONLY | O_CREAT, 0644));
    closed(open("cut", O_RDWR | O_TRUNC));
    closed(open("only", O_RDWR | O_CREAT | O_EXCL, 0644));
    closed(creat("made", 0644));
    closed(creat64("made64", 0644));
    fclosed(fopen("fread", "r"));
    fclosed(fopen("fplus", "r+"));
    fclosed(fopen64("fwrite", "w"));
    fclosed(fopen64("fappend", "a"));
    fclosed(fopen("fonly", "wx"));
    fclosed(freopen("again", "r", fopen("fread", "r")));
    fclosed(freopen64("again64", "w", fopen("fread", "r")));
    DIR *folder = opendir("folder");
    closedir(folder);
    close(here);
}

static void temporary(void)
{
    char a[] = "tmp_XXXXXX", b[] = "tmp_XXXXXX.txt", c[] = "tmp_XXXXXX", d[] = "tmp_XXXXXX.txt";
    closed(mkstemp(a));
    closed(mkstemps(b, 4));
    closed(mkostemp(c, O_CLOEXEC));
    closed(mkostemps64(d, 4, O_CLOEXEC));
    printf("%s %s %s %s\n", a, b, c, d);
}

static void moves(void)
{
    int here = open(".", O_PATH | O_DIRECTORY);
    rename("from1", "to1");
    renameat(here, "from2", here, "to2");
    renameat2(here, "from3", here, "to3", RENAME_NOREPLACE);
    renameat2(AT_FDCWD, "left", AT_FDCWD, "right", RENAME_EXCHANGE);
    link("linked", "name1");
    linkat(here, "linked", here, "name2", 0);
    unlink("gone1");
    unlinkat(here, "gone2", 0);
    unlinkat(here, "empty", AT_REMOVEDIR);
    remove("gone3");
    truncate("short1", 1);
    truncate64("short2", 0);
    close(here);
}

static void failing(void)
{
#define TRY(call) errno = 0, call, printf("%s %d\n", #call, errno)
    TRY(open("missing", O_RDONLY));
    TRY(open("missing/x", O_WRONLY | O_CREAT, 0644));
    TRY(open("read", O_WRONLY | O_CREAT | O_EXCL, 0644));
    TRY(open("folder", O_WRONLY));
    TRY(openat(999, "x", O_RDONLY));
    TRY(fopen("missing", "r+"));
    TRY(opendir("missing"));
    TRY(rename("missing", "x"));
    TRY(rename("read", "folder"));
    TRY(link("missing", "x"));
    TRY(link("read", "old"));
    TRY(unlink("missing"));
    TRY(unlink("folder"));
    TRY(truncate("missing", 0));
    TRY(execl("missing", "missing", (char *)NULL));
    TRY(execlp("no-such-program", "x", (char *)NULL));
    TRY(closed(open("read", O_RDONLY)));
}

static void wait_for(pid_t pid) { waitpid(pid, NULL, 0); }

static void starts(void)
{
    char *argv[] = {"cat", "read", NULL}, *none[] = {NULL}, *clean[] = {"A=1", NULL};
    pid_t pid;
#define CHILD(call) do { fflush(stdout); if ((pid = fork()) == 0) { call; _exit(127); } wait_for(pid); } while (0)
    CHILD(execv("/bin/cat", argv));
    CHILD(execve("/bin/cat", argv, none));
    CHILD(execvp("cat", argv));
    CHILD(execvpe("cat", argv, clean));
    CHILD(execl("/bin/cat", "cat", "read", (char *)NULL));
    CHILD(execlp("cat", "cat", "read", (char *)NULL));
    CHILD(execle("/bin/cat", "cat", "read", (char *)NULL, clean));
    CHILD(fexecve(open("/bin/cat", O_RDONLY | O_CLOEXEC), argv, clean));
    if ((pid = vfork()) == 0) {
        execve("/bin/cat", argv, clean);
        _exit(127);
    }
    wait_for(pid);
    posix_spawn(&pid, "/bin/cat", NULL, NULL, argv, clean);
    wait_for(pid);
    posix_spawnp(&pid, "cat", NULL, NULL, argv, environ);
    wait_for(pid);
    if (system("cat read; exit 3") >> 8 != 3)
        puts("wrong status");
    FILE *pipe = popen("cat read", "r");
    int c;
    while ((c = getc(pipe)) != EOF)
        putchar(c);
    pclose(pipe);
}

int main(int argc, char **argv)
{
    (void)argc;
    if (strcmp(argv[1], "opens") == 0) opens();
    if (strcmp(argv[1], "temporary") == 0) temporary();
    if (strcmp(argv[1], "moves") == 0) moves();
    if (strcmp(argv[1], "failing") == 0) failing();
    if (strcmp(argv[1], "starts") == 0) starts();
    if (strcmp(argv[1], "loop") == 0)
        for (long i = atol(argv[2]); i != 0; i--)
            closed(open("read", O_RDONLY));
    return 0;
}
