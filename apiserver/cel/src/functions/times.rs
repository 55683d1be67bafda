//! Parts of times and durations; times are read in UTC.

use super::dispatch::Called;
use crate::value::Val;
use time::UtcOffset;

pub(super) fn call<'a>(function: &str, _is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    let number = match args {
        [Val::Timestamp(time)] => {
            let time = time.to_offset(UtcOffset::UTC);
            match function {
                "getFullYear" => i64::from(time.year()),
                "getMonth" => i64::from(u8::from(time.month())) - 1,
                "getDate" => i64::from(time.day()),
                "getDayOfMonth" => i64::from(time.day()) - 1,
                "getDayOfWeek" => i64::from(time.weekday().number_days_from_sunday()),
                "getDayOfYear" => i64::from(time.ordinal()) - 1,
                "getHours" => i64::from(time.hour()),
                "getMinutes" => i64::from(time.minute()),
                "getSeconds" => i64::from(time.second()),
                "getMilliseconds" => i64::from(time.millisecond()),
                _ => return None,
            }
        }
        [Val::Duration(duration)] => match function {
            "getHours" => duration.whole_hours(),
            "getMinutes" => duration.whole_minutes(),
            "getSeconds" => duration.whole_seconds(),
            "getMilliseconds" => i64::from(duration.subsec_milliseconds()),
            _ => return None,
        },
        _ => return None,
    };
    Some(Ok(Val::Int(number)))
}
