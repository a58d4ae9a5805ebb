//! Shapes of JSON values that are stored and given back, and mean nothing here.
//!
//! They are kept as they came, so that a task definition made for AWS stays what it was. What AWS's own service model would not take is refused all
//! the same: whoever tries a definition here wants to know that it is one. The tables are from botocore's model of ECS.

use serde_json::Value;

/// What AWS's model says of a value.
#[derive(Debug)]
pub(crate) enum Shape {
    Boolean,
    Integer,
    String,
    /// A string of these.
    OneOf(&'static [&'static str]),
    List(&'static Self),
    /// Any names, all of one shape.
    Map(&'static Self),
    /// Known names only.
    Structure(&'static [Member]),
}

/// A structure's field.
#[derive(Debug)]
pub(crate) struct Member {
    name: &'static str,
    shape: Shape,
    required: bool,
}

const fn optional(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, required: false }
}

const fn required(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, required: true }
}

const STRINGS: Shape = Shape::List(&Shape::String);
const STRING_MAP: Shape = Shape::Map(&Shape::String);
const KEY_VALUE: Shape =
    Shape::Structure(&[optional("name", Shape::String), optional("value", Shape::String)]);
const SECRET: Shape =
    Shape::Structure(&[required("name", Shape::String), required("valueFrom", Shape::String)]);

/// The stored fields of a container definition.
pub(crate) const CONTAINER: &[Member] = &[
    optional("repositoryCredentials", Shape::Structure(&[required("credentialsParameter", Shape::String)])),
    optional("links", STRINGS),
    optional(
        "linuxParameters",
        Shape::Structure(&[
            optional(
                "capabilities",
                Shape::Structure(&[optional("add", STRINGS), optional("drop", STRINGS)]),
            ),
            optional(
                "devices",
                Shape::List(&Shape::Structure(&[
                    required("hostPath", Shape::String),
                    optional("containerPath", Shape::String),
                    optional("permissions", Shape::List(&Shape::OneOf(&["read", "write", "mknod"]))),
                ])),
            ),
            optional("initProcessEnabled", Shape::Boolean),
            optional("sharedMemorySize", Shape::Integer),
            optional(
                "tmpfs",
                Shape::List(&Shape::Structure(&[
                    required("containerPath", Shape::String),
                    required("size", Shape::Integer),
                    optional("mountOptions", STRINGS),
                ])),
            ),
            optional("maxSwap", Shape::Integer),
            optional("swappiness", Shape::Integer),
        ]),
    ),
    optional("versionConsistency", Shape::OneOf(&["enabled", "disabled"])),
    optional("hostname", Shape::String),
    optional("user", Shape::String),
    optional("privileged", Shape::Boolean),
    optional("dnsServers", STRINGS),
    optional("dnsSearchDomains", STRINGS),
    optional(
        "extraHosts",
        Shape::List(&Shape::Structure(&[
            required("hostname", Shape::String),
            required("ipAddress", Shape::String),
        ])),
    ),
    optional("dockerSecurityOptions", STRINGS),
    optional("pseudoTerminal", Shape::Boolean),
    optional(
        "ulimits",
        Shape::List(&Shape::Structure(&[
            required(
                "name",
                Shape::OneOf(&[
                    "core",
                    "cpu",
                    "data",
                    "fsize",
                    "locks",
                    "memlock",
                    "msgqueue",
                    "nice",
                    "nofile",
                    "nproc",
                    "rss",
                    "rtprio",
                    "rttime",
                    "sigpending",
                    "stack",
                ]),
            ),
            required("softLimit", Shape::Integer),
            required("hardLimit", Shape::Integer),
        ])),
    ),
    optional(
        "logConfiguration",
        Shape::Structure(&[
            required(
                "logDriver",
                Shape::OneOf(&[
                    "json-file",
                    "syslog",
                    "journald",
                    "gelf",
                    "fluentd",
                    "awslogs",
                    "splunk",
                    "awsfirelens",
                    // Ours.
                    "file",
                    "none",
                    "stdout",
                ]),
            ),
            optional("options", STRING_MAP),
            optional("secretOptions", Shape::List(&SECRET)),
        ]),
    ),
    optional("systemControls", Shape::List(&NAMESPACE_VALUE)),
    optional("resourceRequirements", RESOURCE_REQUIREMENTS),
    optional(
        "firelensConfiguration",
        Shape::Structure(&[
            required("type", Shape::OneOf(&["fluentd", "fluentbit"])),
            optional("options", STRING_MAP),
        ]),
    ),
    optional("credentialSpecs", STRINGS),
];

const NAMESPACE_VALUE: Shape =
    Shape::Structure(&[optional("namespace", Shape::String), optional("value", Shape::String)]);

/// `resourceRequirements`, of definitions and of overrides.
pub(crate) const RESOURCE_REQUIREMENTS: Shape = Shape::List(&Shape::Structure(&[
    optional("value", Shape::String),
    required("type", Shape::OneOf(&["GPU", "InferenceAccelerator", "NeuronDevice"])),
    optional(
        "sharingStrategy",
        Shape::Structure(&[optional(
            "nvidiaMps",
            Shape::Structure(&[
                required("memory", Shape::Integer),
                optional("maxComputePercent", Shape::Integer),
            ]),
        )]),
    ),
]));

/// `inferenceAcceleratorOverrides`.
pub(crate) const INFERENCE_ACCELERATOR_OVERRIDES: Shape = Shape::List(&Shape::Structure(&[
    optional("deviceName", Shape::String),
    optional("deviceType", Shape::String),
]));

/// The stored fields of a task definition.
pub(crate) const TASK_DEFINITION: &[Member] = &[
    optional("pidMode", Shape::OneOf(&["host", "task"])),
    optional("ipcMode", Shape::OneOf(&["host", "task", "none"])),
    optional(
        "proxyConfiguration",
        Shape::Structure(&[
            optional("type", Shape::OneOf(&["APPMESH"])),
            required("containerName", Shape::String),
            optional("properties", Shape::List(&KEY_VALUE)),
        ]),
    ),
    optional(
        "inferenceAccelerators",
        Shape::List(&Shape::Structure(&[
            required("deviceName", Shape::String),
            required("deviceType", Shape::String),
        ])),
    ),
    optional(
        "runtimePlatform",
        Shape::Structure(&[
            optional("cpuArchitecture", Shape::OneOf(&["X86_64", "ARM64"])),
            optional(
                "operatingSystemFamily",
                Shape::OneOf(&[
                    "WINDOWS_SERVER_2019_FULL",
                    "WINDOWS_SERVER_2019_CORE",
                    "WINDOWS_SERVER_2016_FULL",
                    "WINDOWS_SERVER_2004_CORE",
                    "WINDOWS_SERVER_2022_CORE",
                    "WINDOWS_SERVER_2022_FULL",
                    "WINDOWS_SERVER_2025_CORE",
                    "WINDOWS_SERVER_2025_FULL",
                    "WINDOWS_SERVER_20H2_CORE",
                    "LINUX",
                ]),
            ),
        ]),
    ),
    optional("enableFaultInjection", Shape::Boolean),
    optional(
        "trustedExecutionConfiguration",
        Shape::Structure(&[
            required("isolationMode", Shape::OneOf(&["SHARED", "ISOLATED_SANDBOX", "CONFIDENTIAL_SANDBOX"])),
            optional("attestationPolicy", Shape::String),
        ]),
    ),
];

/// The stored fields of a port mapping.
pub(crate) const PORT_MAPPING: &[Member] = &[
    optional("appProtocol", Shape::OneOf(&["http", "http2", "grpc"])),
    optional("containerPortRange", Shape::String),
];

/// The stored fields of a volume.
pub(crate) const VOLUME: &[Member] = &[
    optional(
        "dockerVolumeConfiguration",
        Shape::Structure(&[
            optional("scope", Shape::OneOf(&["task", "shared"])),
            optional("autoprovision", Shape::Boolean),
            optional("driver", Shape::String),
            optional("driverOpts", STRING_MAP),
            optional("labels", STRING_MAP),
        ]),
    ),
    optional(
        "efsVolumeConfiguration",
        Shape::Structure(&[
            required("fileSystemId", Shape::String),
            optional("rootDirectory", Shape::String),
            optional("transitEncryption", Shape::OneOf(&["ENABLED", "DISABLED"])),
            optional("transitEncryptionPort", Shape::Integer),
            optional(
                "authorizationConfig",
                Shape::Structure(&[
                    optional("accessPointId", Shape::String),
                    optional("iam", Shape::OneOf(&["ENABLED", "DISABLED"])),
                ]),
            ),
        ]),
    ),
    optional(
        "s3filesVolumeConfiguration",
        Shape::Structure(&[
            required("fileSystemArn", Shape::String),
            optional("rootDirectory", Shape::String),
            optional("transitEncryptionPort", Shape::Integer),
            optional("accessPointArn", Shape::String),
        ]),
    ),
    optional(
        "fsxWindowsFileServerVolumeConfiguration",
        Shape::Structure(&[
            required("fileSystemId", Shape::String),
            required("rootDirectory", Shape::String),
            required(
                "authorizationConfig",
                Shape::Structure(&[
                    required("credentialsParameter", Shape::String),
                    required("domain", Shape::String),
                ]),
            ),
        ]),
    ),
];

/// `placementConstraints`.
pub(crate) const PLACEMENT_CONSTRAINTS: Shape = Shape::List(&Shape::Structure(&[
    optional("type", Shape::OneOf(&["memberOf"])),
    optional("expression", Shape::String),
]));

/// Checks the members of `fields` that `members` knows; others are somebody else's. The error names the field by its path.
pub(crate) fn check_members(fields: &Value, members: &[Member]) -> Result<(), String> {
    for member in members {
        if let Some(value) = fields.get(member.name).filter(|value| !value.is_null()) {
            member.shape.check(value, member.name)?;
        }
    }
    Ok(())
}

impl Shape {
    /// Checks `value`, which is at `path`. The error names the field by its path.
    pub(crate) fn check(&self, value: &Value, path: &str) -> Result<(), String> {
        let refuse = |expected: &str| Err(format!("'{path}' must be {expected}."));
        match (self, value) {
            (Self::Boolean, Value::Bool(_)) | (Self::String, Value::String(_)) => Ok(()),
            (Self::Integer, Value::Number(number))
                if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) =>
            {
                Ok(())
            }
            (Self::OneOf(known), Value::String(text)) if known.contains(&text.as_str()) => Ok(()),
            (Self::List(shape), Value::Array(items)) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| shape.check(item, &format!("{path}[{index}]"))),
            (Self::Map(shape), Value::Object(fields)) => {
                fields.iter().try_for_each(|(name, value)| shape.check(value, &format!("{path}.{name}")))
            }
            (Self::Structure(members), Value::Object(fields)) => {
                for (name, value) in fields {
                    let at = format!("{path}.{name}");
                    let Some(member) = members.iter().find(|member| member.name == name) else {
                        return Err(format!("'{at}' is not known."));
                    };
                    match value {
                        Value::Null => {}
                        value => member.shape.check(value, &at)?,
                    }
                }
                let is_missing =
                    |member: &&Member| member.required && fields.get(member.name).is_none_or(Value::is_null);
                match members.iter().find(is_missing) {
                    Some(member) => Err(format!("'{path}.{}' is missing.", member.name)),
                    None => Ok(()),
                }
            }
            (Self::Boolean, _) => refuse("true or false"),
            (Self::Integer, _) => refuse("a whole number"),
            (Self::String, _) => refuse("a string"),
            (Self::OneOf(known), _) => refuse(&format!("one of {}", known.join(", "))),
            (Self::List(_), _) => refuse("a list"),
            (Self::Map(_) | Self::Structure(_), _) => refuse("an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_of_another_shape_is_refused_by_its_path() {
        for (fields, error) in [
            (json!({"privileged": "yes"}), "'privileged' must be true or false."),
            (json!({"links": [1]}), "'links[0]' must be a string."),
            (json!({"linuxParameters": {"swap": 1}}), "'linuxParameters.swap' is not known."),
            (
                json!({"linuxParameters": {"maxSwap": 1.5}}),
                "'linuxParameters.maxSwap' must be a whole number.",
            ),
            (json!({"extraHosts": [{"hostname": "a"}]}), "'extraHosts[0].ipAddress' is missing."),
            (json!({"versionConsistency": "on"}), "'versionConsistency' must be one of enabled, disabled."),
            (
                json!({"logConfiguration": {"logDriver": "awslogs", "options": {"a": 1}}}),
                "'logConfiguration.options.a' must be a string.",
            ),
        ] {
            assert_eq!(check_members(&fields, CONTAINER), Err(error.to_owned()));
        }
        let fine = json!({"privileged": null, "somebodyElses": 1, "user": "a"});
        assert_eq!(check_members(&fine, CONTAINER), Ok(()));
    }
}
