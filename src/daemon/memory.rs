//! How much memory this process and its neighbours in its control group may use.
#![forbid(unsafe_code)]

/// The least limit of the groups that this process is in, in bytes; `read` gives a file's content. Version 2 of control
/// groups has one tree, version 1 a tree for each controller, and a machine may have both.
pub(super) fn limit(read: impl Fn(&str) -> Option<Vec<u8>>) -> Option<u64> {
    let text = String::from_utf8(read("/proc/self/cgroup")?).ok()?;
    let mut least: Option<u64> = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // A group's limit holds for those below it.
        let mut path = path.trim_end_matches('/');
        loop {
            let bytes = read(&format!("{root}{path}/{file}"));
            // "max" is no number.
            let bytes = bytes.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
            least = least.into_iter().chain(bytes).min();
            let Some((above, _)) = path.rsplit_once('/') else { break };
            path = above;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(files: &[(&str, &str)]) -> Option<u64> {
        limit(|path| files.iter().find(|file| file.0 == path).map(|file| file.1.into()))
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let own = ("/proc/self/cgroup", "0::/system.slice/pacemaker_remote.service\n");
        let service = "/sys/fs/cgroup/system.slice/pacemaker_remote.service/memory.max";
        assert_eq!(limit_of(&[own, (service, "max\n")]), None);
        assert_eq!(limit_of(&[own, (service, "1000000\n")]), Some(1_000_000));
        let slice = ("/sys/fs/cgroup/system.slice/memory.max", "500\n");
        assert_eq!(limit_of(&[own, (service, "1000000\n"), slice]), Some(500));
        assert_eq!(limit_of(&[own, (service, "max\n"), slice]), Some(500));
        let root = ("/sys/fs/cgroup/memory.max", "77");
        assert_eq!(limit_of(&[("/proc/self/cgroup", "0::/\n"), root]), Some(77));
    }

    #[test]
    fn the_first_version_has_another_file() {
        let own = ("/proc/self/cgroup", "11:cpu,cpuacct:/a\n5:memory:/a/b\n1:name=systemd:/x\n0::/y\n");
        let file = ("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "4096\n");
        assert_eq!(limit_of(&[own, file]), Some(4096));
        // In a container without its own view of the tree, its group is at the top.
        let top = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "8192\n");
        assert_eq!(limit_of(&[own, top]), Some(8192));
    }

    #[test]
    fn without_groups_there_is_no_limit() {
        assert_eq!(limit_of(&[]), None);
        assert_eq!(limit_of(&[("/proc/self/cgroup", "nonsense\n::\n")]), None);
    }
}
