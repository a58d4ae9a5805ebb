//! `coracle schedule`

use clap::{Args, Subcommand};
use coracle_supervisor::clock::Timestamp;

use super::{ApiArgs, ClusterArgs, OverrideArgs, values};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle schedule create nightly --schedule 'cron(0 3 * * ? *)' --task-definition report:2
  coracle schedule ls
  coracle schedule describe nightly
  coracle schedule update nightly --disable
  coracle schedule delete nightly")]
pub(crate) enum ScheduleCommand {
    /// Run tasks at a time, or again and again
    #[command(after_help = "Examples:
  coracle schedule create nightly --schedule 'cron(0 3 * * ? *)' --timezone Europe/Berlin --task-definition report:2
  coracle schedule create sweep --schedule 'rate(15 minutes)' --task-definition sweep --window 5 -- --all
  coracle schedule create once --schedule 'at(2026-12-24T18:00:00)' --task-definition bell --delete-after")]
    Create(ScheduleCreate),
    /// List the schedules
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle schedule ls --output json")]
    Ls(ApiArgs),
    /// Show one schedule, what became of its newest runs, and when the next one is
    #[command(after_help = "Examples:\n  coracle schedule describe nightly")]
    Describe(ScheduleName),
    /// Change a schedule; what is not said stays as it is
    #[command(after_help = "Examples:
  coracle schedule update nightly --schedule 'cron(30 2 * * ? *)'
  coracle schedule update nightly --task-definition report:3 -- --all
  coracle schedule update nightly --disable")]
    Update(ScheduleUpdate),
    /// Delete a schedule; tasks that it started go on
    #[command(after_help = "Examples:\n  coracle schedule delete nightly")]
    Delete(ScheduleName),
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleCreate {
    /// The schedule's name
    pub(crate) name: String,

    /// When: at(yyyy-mm-ddThh:mm:ss), rate(value unit) or cron(minutes hours day-of-month month day-of-week year)
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) schedule: String,

    /// What to run: family:revision, a family for its newest revision at each run, or an ARN
    #[arg(short, long, value_name = "TASK_DEFINITION")]
    pub(crate) task_definition: String,

    /// The time zone of the expression, by its name in the IANA database
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) timezone: String,

    /// Tasks of each run
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=10), allow_negative_numbers = true)]
    pub(crate) count: u32,

    /// Begin a run at any moment within this many minutes after its time
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=1440), allow_negative_numbers = true)]
    pub(crate) window: Option<u32>,

    /// No run before it, such as 2026-12-01T00:00:00Z; a rate begins with it
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) start: Option<Timestamp>,

    /// No run after it
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) end: Option<Timestamp>,

    /// Delete the schedule after its last run
    #[arg(long)]
    pub(crate) delete_after: bool,

    /// Try a run that was refused again this many times
    #[arg(long, value_name = "N", default_value = "185", value_parser = clap::value_parser!(u32).range(0..=185), allow_negative_numbers = true)]
    pub(crate) retries: u32,

    /// Begin no run later than this many seconds after its time, missed or refused
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = clap::value_parser!(u32).range(60..=86_400), allow_negative_numbers = true)]
    pub(crate) max_age: u32,

    #[command(flatten)]
    pub(crate) overrides: OverrideArgs,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleUpdate {
    /// The schedule's name
    pub(crate) name: String,

    /// When: at(yyyy-mm-ddThh:mm:ss), rate(value unit) or cron(minutes hours day-of-month month day-of-week year)
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) schedule: Option<String>,

    /// What to run: family:revision, a family for its newest revision at each run, or an ARN
    #[arg(short, long, value_name = "TASK_DEFINITION")]
    pub(crate) task_definition: Option<String>,

    /// The time zone of the expression, by its name in the IANA database
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,

    /// Tasks of each run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10), allow_negative_numbers = true)]
    pub(crate) count: Option<u32>,

    /// Begin a run at any moment within this many minutes after its time; 0 is at its time
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(0..=1440), allow_negative_numbers = true)]
    pub(crate) window: Option<u32>,

    /// No run before it, such as 2026-12-01T00:00:00Z; a rate begins with it
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) start: Option<Timestamp>,

    /// No run after it
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) end: Option<Timestamp>,

    /// Delete the schedule after its last run, or keep it
    #[arg(long, value_name = "BOOL")]
    pub(crate) delete_after: Option<bool>,

    /// Try a run that was refused again this many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=185), allow_negative_numbers = true)]
    pub(crate) retries: Option<u32>,

    /// Begin no run later than this many seconds after its time, missed or refused
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(60..=86_400), allow_negative_numbers = true)]
    pub(crate) max_age: Option<u32>,

    /// Run nothing until it is enabled again; what falls into that time is not made up for
    #[arg(long, conflicts_with = "enable")]
    pub(crate) disable: bool,

    /// Run it again at its times
    #[arg(long)]
    pub(crate) enable: bool,

    #[command(flatten)]
    pub(crate) overrides: OverrideArgs,

    /// The name or ARN of the cluster that its tasks run in
    #[arg(short, long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleName {
    /// The schedule's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
