//! How many tasks a host holds, and how fast it starts them. Run by `density.sh`, which judges what this prints.
//!
//! ```sh
//! cargo run --release --package coracle --example density -- hello.wasm [--tasks=10000] [--starts=2000] [--burst=1000] [--data-dir=DIR]
//! ```
//!
//! It prints one JSON object a line, each a figure. All is done in this process, through the operations that the API has, so that neither HTTP nor another
//! process is part of a figure. The first line is the process before its first task.

use std::collections::HashSet;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use coracle::Host;
use coracle_supervisor::model::tags::Tag;
use coracle_supervisor::model::task::LastStatus;
use coracle_supervisor::operations::{
    CreateClusterRequest, CreateServiceRequest, DeleteServiceRequest, DescribeServicesRequest,
    DescribeTasksRequest, ListTasksRequest, RegisterTaskDefinitionRequest, RunTaskRequest, StopTaskRequest,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Most tasks of one service.
const SERVICE: usize = 5000;
/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(300);
/// How long ended tasks' memory may take to be returned.
const RETURN_WINDOW: Duration = Duration::from_secs(20);

struct Settings {
    image: PathBuf,
    tasks: usize,
    starts: usize,
    burst: usize,
    data_dir: Option<PathBuf>,
}

fn settings() -> Result<Settings> {
    let mut arguments = std::env::args().skip(1);
    let image = arguments
        .next()
        .ok_or("usage: density IMAGE [--tasks=N] [--starts=N] [--burst=N] [--data-dir=DIR]")?;
    let image = PathBuf::from(image).canonicalize()?;
    let mut settings = Settings { image, tasks: 10_000, starts: 2000, burst: 1000, data_dir: None };
    for argument in arguments {
        let (option, value) = argument.split_once('=').ok_or("an option is --name=value")?;
        match option {
            "--tasks" => settings.tasks = value.parse()?,
            "--starts" => settings.starts = value.parse()?,
            "--burst" => settings.burst = value.parse()?,
            "--data-dir" => settings.data_dir = Some(value.into()),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    Ok(settings)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let settings = settings()?;
    let builder = match &settings.data_dir {
        Some(directory) => Host::builder().data_dir(directory),
        None => Host::builder(),
    };
    let host = builder.start().await?;
    prepare(&host, &settings).await?;
    let empty = rss()?;
    println!("{}", json!({ "figure": "empty", "rss_bytes": empty }));
    starts(&host, settings.starts).await?;
    burst(&host, settings.burst).await?;
    idle(&host, settings.tasks, empty).await?;
    host.shutdown(Duration::from_secs(60)).await;
    Ok(())
}

async fn prepare(host: &Host, settings: &Settings) -> Result<()> {
    host.supervisor().create_cluster(CreateClusterRequest::default()).await?;
    let definition: RegisterTaskDefinitionRequest = serde_json::from_value(json!({
        "family": "hello",
        "containerDefinitions": [{ "name": "hello", "image": settings.image, "memory": 16 }],
    }))?;
    host.supervisor().register_task_definition(definition).await?;
    // Compiles the image.
    let task = run(host, 1).await?.remove(0);
    until_running(host, &task).await?;
    stop(host, &[task]).await
}

/// One task after another, from RunTask's answer to RUNNING.
async fn starts(host: &Host, count: usize) -> Result<()> {
    let (mut accepted, mut running) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let begin = Instant::now();
        let task = run(host, 1).await?.remove(0);
        accepted.push(begin.elapsed());
        let begin = Instant::now();
        until_running(host, &task).await?;
        running.push(begin.elapsed());
        stop(host, &[task]).await?;
    }
    let micros = |times: &mut Vec<Duration>, part: f64| {
        times.sort();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = ((times.len() - 1) as f64 * part) as usize;
        times[index].as_micros()
    };
    println!(
        "{}",
        json!({
            "figure": "start", "tasks": count,
            "accepted_to_running_p50_us": micros(&mut running, 0.5), "accepted_to_running_p99_us": micros(&mut running, 0.99),
            "run_task_p50_us": micros(&mut accepted, 0.5), "run_task_p99_us": micros(&mut accepted, 0.99),
        })
    );
    Ok(())
}

/// Many tasks at once, from the first RunTask to the last RUNNING.
async fn burst(host: &Host, count: usize) -> Result<()> {
    let begin = Instant::now();
    let mut tasks = Vec::new();
    while tasks.len() < count {
        tasks.extend(run(host, (count - tasks.len()).min(10)).await?);
    }
    let accepted = begin.elapsed();
    for task in &tasks {
        until_running(host, task).await?;
    }
    let running = begin.elapsed();
    let begin = Instant::now();
    stop(host, &tasks).await?;
    println!(
        "{}",
        json!({
            "figure": "burst", "tasks": count, "accepted_ms": accepted.as_millis(), "running_ms": running.as_millis(),
            "stopped_ms": begin.elapsed().as_millis(),
        })
    );
    Ok(())
}

/// Tasks that have nothing to do, each of which answers when it is asked.
async fn idle(host: &Host, count: usize, empty: u64) -> Result<()> {
    let before = rss()?;
    let begin = Instant::now();
    let mut services = Vec::new();
    for first in (0..count).step_by(SERVICE) {
        let (name, size) = (format!("hello-{first}"), SERVICE.min(count - first));
        let request = CreateServiceRequest {
            service_name: name.clone(),
            task_definition: "hello".to_owned(),
            desired_count: Some(i64::try_from(size)?),
            tags: vec![Tag::new("coracle.listen", "127.0.0.1:0")],
            ..CreateServiceRequest::default()
        };
        host.supervisor().create_service(request).await?;
        services.push((name, size));
    }
    for (name, size) in &services {
        until_steady(host, name, *size).await?;
    }
    let started = begin.elapsed();
    let held = rss()?;
    let begin = Instant::now();
    let mut answers = 0;
    for (name, size) in &services {
        let address = host.supervisor().endpoint("default", name).ok_or("the service is not published")?;
        answers += distinct_answers(address, *size).await?;
    }
    let asked = begin.elapsed();
    let after = rss()?;
    println!(
        "{}",
        json!({
            "figure": "idle", "tasks": count, "steady_ms": started.as_millis(), "rss_bytes": held,
            "bytes_per_task": held.saturating_sub(before) / count.max(1) as u64, "answering": answers,
            "asking_ms": asked.as_millis(), "rss_after_asking_bytes": after,
        })
    );
    let begin = Instant::now();
    for (name, _) in &services {
        let request = DeleteServiceRequest {
            service: name.clone(),
            force: Some(true),
            ..DeleteServiceRequest::default()
        };
        host.supervisor().delete_service(request).await?;
    }
    until_none_run(host).await?;
    let stopped = begin.elapsed();
    let (returned, after) = until_returned(host, empty).await?;
    println!(
        "{}",
        json!({
            "figure": "ended", "stopped_ms": stopped.as_millis(), "rss_bytes": returned, "rss_empty_bytes": empty,
            "returned_after_ms": after.as_millis(),
        })
    );
    Ok(())
}

/// The least that the process holds once its tasks have ended, and when it was reached. The allocator gives pages back when something is freed after
/// its own delay, so that the host goes on to live here: a task comes and goes now and then.
async fn until_returned(host: &Host, empty: u64) -> Result<(u64, Duration)> {
    let begin = Instant::now();
    let mut least = (rss()?, Duration::ZERO);
    while begin.elapsed() < RETURN_WINDOW && least.0 > empty {
        let task = run(host, 1).await?;
        until_running(host, &task[0]).await?;
        stop(host, &task).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = rss()?;
        if now < least.0 {
            least = (now, begin.elapsed());
        }
    }
    Ok(least)
}

async fn run(host: &Host, count: usize) -> Result<Vec<String>> {
    let request = RunTaskRequest {
        task_definition: "hello".to_owned(),
        count: Some(i64::try_from(count)?),
        ..RunTaskRequest::default()
    };
    let tasks = host.supervisor().run_task(request).await?.tasks;
    Ok(tasks.into_iter().map(|task| task.task_arn).collect())
}

async fn status(host: &Host, task: &str) -> Result<LastStatus> {
    let request = DescribeTasksRequest { tasks: vec![task.to_owned()], ..DescribeTasksRequest::default() };
    let task = host.supervisor().describe_tasks(request).await?.tasks.pop().ok_or("the task is not known")?;
    if task.stop_code.is_some() && task.last_status < LastStatus::Running {
        return Err(format!("the task did not start: {:?}", task.stopped_reason).into());
    }
    Ok(task.last_status)
}

async fn until_running(host: &Host, task: &str) -> Result<()> {
    let give_up = Instant::now() + DEADLINE;
    while status(host, task).await? < LastStatus::Running {
        if Instant::now() > give_up {
            return Err("a task did not come to run".into());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn stop(host: &Host, tasks: &[String]) -> Result<()> {
    for task in tasks {
        let request = StopTaskRequest { cluster: None, task: task.clone(), reason: None };
        host.supervisor().stop_task(request).await?;
    }
    for task in tasks {
        while status(host, task).await? != LastStatus::Stopped {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

async fn until_steady(host: &Host, name: &str, size: usize) -> Result<()> {
    let give_up = Instant::now() + DEADLINE;
    loop {
        let request =
            DescribeServicesRequest { services: vec![name.to_owned()], ..DescribeServicesRequest::default() };
        let service = host.supervisor().describe_services(request).await?.services.remove(0);
        let newest = service.events.first().map(|event| event.message.as_str()).unwrap_or_default();
        if service.running_count == u32::try_from(size)?
            && (newest.ends_with("steady state.") || newest.ends_with("completed."))
        {
            return Ok(());
        }
        if Instant::now() > give_up {
            return Err(format!("{name} has {} of {size} tasks: {newest}", service.running_count).into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_none_run(host: &Host) -> Result<()> {
    loop {
        let running = host.supervisor().list_tasks(ListTasksRequest::default()).await?.task_arns.len();
        if running == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many tasks answer, of a service that takes them in turn.
async fn distinct_answers(address: SocketAddr, size: usize) -> Result<usize> {
    let mut answers = HashSet::new();
    let mut stream = TcpStream::connect(address).await?;
    let mut buffer = vec![0; 16 * 1024];
    // Each thread of the balancer has turns of its own: one connection sees them all.
    for _ in 0..size {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: density\r\n\r\n").await?;
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Err("the balancer closed the connection".into());
            }
            answer.extend_from_slice(&buffer[..read]);
        }
        let text = String::from_utf8(answer)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no body")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head.to_owned().into());
        }
        answers.insert(body.to_owned());
    }
    Ok(answers.len())
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    length.is_some_and(|length| body.len() >= length)
}

/// Resident memory of this process.
fn rss() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
