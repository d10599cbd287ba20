"""Every text that people read on the page, in one table with a column for each language.

`{name}` in a text is filled by the caller. Reasons in English are the contract's own (`contracts.quality.REASONS`),
quantities in English too: only their Chinese stands here. What a person wrote into the registry (names of sites,
titles of conditions) is shown as written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from console.substance_names import SUBSTANCE_TITLES_ZH
from contracts.alarm import ConditionInput
from contracts.quality import REASONS, Reason, parse_reason
from contracts.quantity import CYCLE_BINS_MAX, QUANTITIES, cycle_quantity


class Language(StrEnum):
    """Languages of the page; the value is the HTML `lang`."""

    EN = "en"
    ZH = "zh"

    @property
    def own_name(self) -> str:
        """What its readers call it."""
        return {Language.EN: "English", Language.ZH: "中文"}[self]


TEXTS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        # page
        "page.title": ("Alarms – {city}", "报警 – {city}"),
        "page.title_unacknowledged": ("({count}) Alarms – {city}", "({count}) 报警 – {city}"),
        "page.skip": ("Skip to alarms", "跳到报警列表"),
        "page.no_script": (
            "This page needs JavaScript to stay current. What you see is only as of when it was loaded.",
            "本页需要 JavaScript 才能保持更新。您看到的只是加载时的情况。",
        ),
        "header.user": ("Signed in as {name}", "当前用户：{name}"),
        "header.sign_out": ("Sign out", "退出登录"),
        "header.another_device": ("Sign in another device", "在其他设备登录"),
        "header.clock": ("Time zone {zone}", "时区 {zone}"),
        "connection.live": ("Live", "实时"),
        "connection.connecting": ("Connecting…", "正在连接…"),
        "connection.lost": ("Connection lost", "连接已断开"),
        "connection.lost_banner": (
            "Connection to the console lost since {time}. Nothing on this page is current. Trying again by itself.",
            "自 {time} 起与控制台的连接已断开。本页内容均非当前数据，正在自动重连。",
        ),
        # banners
        "down.alarms": (
            "Alarm service does not answer since {time} – alarms shown may be old, new ones cannot appear",
            "报警服务自 {time} 起无应答 – 所示报警可能已过时，新报警无法显示",
        ),
        "down.latest": (
            "Stream processor does not answer since {time} – values shown are old",
            "数据处理服务自 {time} 起无应答 – 所示数值已过时",
        ),
        "down.fleet": (
            "Device registry does not answer since {time} – the list of devices may be old; values and alarms go on",
            "设备注册服务自 {time} 起无应答 – 设备清单可能已过时；数值和报警不受影响",
        ),
        "down.health": (
            "Stream processor does not tell its health since {time} – state of gateways and broker unknown",
            "数据处理服务自 {time} 起不报告运行状况 – 网关和消息代理状态未知",
        ),
        "never.alarms": (
            "Alarm service has not answered yet – whether there are alarms is unknown",
            "报警服务尚未应答 – 是否有报警未知",
        ),
        "never.latest": (
            "Stream processor has not answered yet – no values are known",
            "数据处理服务尚未应答 – 数值未知",
        ),
        "never.fleet": (
            "Device registry has not answered yet – the devices are unknown",
            "设备注册服务尚未应答 – 设备未知",
        ),
        "never.health": (
            "Stream processor has not told its health yet",
            "数据处理服务尚未报告运行状况",
        ),
        "down.broker": (
            "Stream processor has no connection to the broker – no new values, and no new alarms from them",
            "数据处理服务与消息代理断开 – 没有新数值，也不会产生新报警",
        ),
        "down.outbox": (
            "{count} alarm events wait since {time} for the alarm service – alarms are missing on this page",
            "{count} 个报警事件自 {time} 起等待送达报警服务 – 本页缺少报警",
        ),
        "down.unscored": (
            "{count} batches were stored without being checked for alarms – alarms may be missing: tell the operator",
            "{count} 批数据未经报警判断即已存储 – 可能缺少报警：请通知运维人员",
        ),
        "down.losses": (
            "Full gateways gave up readings they could not send – gaps in history are theirs: {gateways}",
            "网关存储已满，舍弃了未能上传的读数 – 历史数据的缺口由此造成：{gateways}",
        ),
        "down.losses_of": (
            "{gateway} ({thinned} thinned, {discarded} dropped, told {time})",
            "{gateway}（抽稀 {thinned}，丢弃 {discarded}，{time} 报告）",
        ),
        "down.losses_more": ("and {count} more", "另有 {count} 台"),
        "down.fault": ("({fault})", "（{fault}）"),
        "section.not_live": ("Not live", "非实时"),
        # counters
        "counter.nodes": ("Nodes", "节点"),
        "counter.good": ("Channels good", "正常通道"),
        "counter.uncertain": ("Uncertain", "存疑"),
        "counter.bad": ("Bad", "异常"),
        "counter.silent": ("Never heard", "从未上报"),
        "counter.gateways": ("Gateways online", "在线网关"),
        "counter.quarantine": ("In quarantine", "隔离数据"),
        # alarms
        "alarms.heading": ("Alarms", "报警"),
        "alarms.none": ("No alarms", "无报警"),
        "alarms.none_since": ("No alarms as of {time} – not live", "截至 {time} 无报警 – 非实时"),
        "alarms.unknown": ("Alarms unknown", "报警情况未知"),
        "alarms.more": ("and {count} more, less urgent", "另有 {count} 条较不紧急"),
        "alarms.acknowledge": ("Acknowledge", "确认"),
        "alarms.acknowledge_label": ("Acknowledge: {title}, {node}", "确认：{title}，{node}"),
        "alarms.acknowledged_by": ("acknowledged by {name} at {time}", "{name} 于 {time} 确认"),
        "alarms.at_activation": ("at activation", "触发时"),
        "alarms.set_point": ("set-point {value}", "设定值 {value}"),
        "alarms.score": ("{detector} score {value}", "{detector}评分 {value}"),
        "alarms.since": ("since {time}", "自 {time}"),
        "alarms.returned_at": ("back to normal at {time}", "{time} 恢复正常"),
        "alarms.priority": ("Priority {priority}", "优先级 {priority}"),
        "state.unacknowledged": ("Active – not acknowledged", "报警中 – 未确认"),
        "state.acknowledged": ("Active – acknowledged", "报警中 – 已确认"),
        "state.returned_unacknowledged": ("Back to normal – not acknowledged", "已恢复 – 未确认"),
        "state.normal": ("Normal", "正常"),
        "colour.red": ("RED", "红色"),
        "colour.orange": ("ORANGE", "橙色"),
        "colour.yellow": ("YELLOW", "黄色"),
        "colour.blue": ("BLUE", "蓝色"),
        "notice.acknowledged": ("Acknowledged: {title}", "已确认：{title}"),
        "notice.already_normal": (
            "Nothing to acknowledge: the alarm is normal already",
            "无需确认：该报警已恢复正常",
        ),
        "notice.not_acknowledged": (
            "NOT acknowledged: {fault}. Try again.",
            "未能确认：{fault}。请重试。",
        ),
        "notice.dismiss": ("Close", "关闭"),
        # fleet
        "fleet.heading": ("Devices", "设备"),
        "fleet.filter_text": ("Filter: node, site, quantity…", "筛选：节点、站点、参数…"),
        "fleet.filter_quality": ("Quality", "质量"),
        "fleet.quality.all": ("All", "全部"),
        "fleet.quality.not_good": ("Only not good", "仅非正常"),
        "fleet.filter_domain": ("Domain", "领域"),
        "fleet.domain.any": ("All", "全部"),
        "fleet.filter_order": ("Order", "排序"),
        "fleet.order.bad_first": ("Bad first", "异常优先"),
        "fleet.order.place": ("By place", "按站点"),
        "fleet.apply": ("Apply", "应用"),
        "fleet.none": ("No channel matches the filter", "没有符合筛选条件的通道"),
        "fleet.unknown": ("Devices unknown", "设备未知"),
        "fleet.rows": ("{shown} of {total} channels", "共 {total} 个通道，显示 {shown} 个"),
        "fleet.previous": ("Previous page", "上一页"),
        "fleet.next": ("Next page", "下一页"),
        "fleet.page": ("Page {page} of {count}", "第 {page} 页，共 {count} 页"),
        "column.node": ("Node", "节点"),
        "column.site": ("Site", "站点"),
        "column.quantity": ("Quantity", "参数"),
        "column.value": ("Value", "数值"),
        "column.quality": ("Quality", "质量"),
        "column.age": ("Age", "时效"),
        "column.score": ("Score", "评分"),
        "level.good": ("good", "正常"),
        "level.uncertain": ("uncertain", "存疑"),
        "level.bad": ("BAD", "异常"),
        "level.none": ("nothing yet", "尚无数据"),
        "fleet.no_observation": ("nothing received yet", "尚未收到数据"),
        "fleet.last_good": ("last good {value} at {time}", "上次正常值 {value}，{time}"),
        "fleet.show_trend": ("Show the trend of {node} {quantity}", "显示 {node} {quantity} 的趋势"),
        "node_state.planned": ("planned", "已规划"),
        "node_state.provisioned": ("provisioned", "已配置"),
        "node_state.active": ("active", "运行中"),
        "node_state.maintenance": ("in maintenance", "维护中"),
        "node_state.retired": ("retired", "已退役"),
        "domain.gas": ("Gas", "燃气"),
        "domain.bridge": ("Bridge", "桥梁"),
        "domain.chemical": ("Chemical", "危化品"),
        "domain.fire": ("Fire", "消防"),
        "domain.forest": ("Forest", "森林"),
        "domain.building": ("Building", "建筑"),
        # scores: the name of each detector, and what a high score of it says
        "score.score_ewma_z": ("recent mean", "近期均值"),
        "score.score_robust_z": ("recent median", "近期中位数"),
        "score.score_flat_line": ("flat line", "读数不变"),
        "score.score_rate_of_change": ("rate of change", "变化速率"),
        "score.score_hour_baseline": ("time of day", "日内时段"),
        "score.score_novelty": ("novelty", "新异度"),
        "score.score_residual": ("prediction", "预测误差"),
        "score.score_combined": ("combined", "综合"),
        "score.score_group_distance": ("group", "群组"),
        "score.score_group_forest": ("group forest", "群组森林"),
        "score_means.score_ewma_z": ("far from its recent mean", "偏离近期均值"),
        "score_means.score_robust_z": ("far from its recent median", "偏离近期中位数"),
        "score_means.score_flat_line": ("unmoved for unusually long", "不变的时间异常长"),
        "score_means.score_rate_of_change": ("moved unusually fast", "变化异常快"),
        "score_means.score_hour_baseline": ("unusual for this time of day", "与一天中该时段的常态不符"),
        "score_means.score_novelty": ("unlike any value that it remembers", "与记住的数值都不相近"),
        "score_means.score_residual": ("not as its last readings let expect", "与按近期读数的预测不符"),
        "score_means.score_combined": (
            "new in its value, mean, time of week or prediction error, and not said lately",
            "数值、均值、周内时段或预测误差有新情况，且近期未提示过",
        ),
        "score_means.score_group_distance": (
            "the like channels here do not stand to each other as they usually do",
            "此处同类通道之间的关系与平时不同",
        ),
        "score_means.score_group_forest": (
            "the like channels here stand as they seldom did",
            "此处同类通道出现少见的组合",
        ),
        "score.heading": ("Scores", "评分"),
        "score.of_time": ("of the reading of {time}", "{time} 的读数"),
        "score.column_detector": ("Detector", "检测方法"),
        "score.column_meaning": ("A high score says", "高分的含义"),
        "score.sigma": ("{score} ({sigma} sigma)", "{score}（{sigma} σ）"),
        "score.sigma_over": ("{score} (over {sigma} sigma)", "{score}（超过 {sigma} σ）"),
        "score.warm_up": ("none yet: warming up", "尚无：学习中"),
        "score.warm_up_short": ("warming up", "学习中"),
        "score.bad": ("none: the reading is bad", "无：读数异常"),
        "score.no_group": (
            "none: it takes {least} like channels here, there are {count}",
            "无：此处需要 {least} 个同类通道，现有 {count} 个",
        ),
        # trend
        "trend.close": ("Close", "关闭"),
        "trend.span.10m": ("10 min", "10 分钟"),
        "trend.span.1h": ("1 h", "1 小时"),
        "trend.span.24h": ("24 h", "24 小时"),
        "trend.minimum": ("min", "最小"),
        "trend.maximum": ("max", "最大"),
        "trend.mean": ("mean", "平均"),
        "trend.time": ("time", "时间"),
        "trend.set_points": ("Set-points", "设定值"),
        "trend.above": ("above {value}", "高于 {value}"),
        "trend.below": ("below {value}", "低于 {value}"),
        "trend.no_set_points": ("no set-points", "无设定值"),
        "trend.bad_stripes": ("Red stripes: only bad observations", "红色区域：仅有异常数据"),
        "trend.scores": ("Highest scores: 0.5 is 3 sigma", "最高评分：0.5 即 3σ"),
        "trend.no_scores": (
            "No scores to draw in this time: none was high, or they warm up",
            "该时段没有可绘制的评分：评分均不高，或仍在学习中",
        ),
        "trend.score_gaps": (
            "Where a score has no line it was below 0.5 and is not kept, or there was none",
            "没有曲线处：评分低于 0.5 未保存，或没有评分",
        ),
        "trend.empty": ("No observations in this time", "该时段没有数据"),
        "trend.failed": ("Trend not available: {fault}", "无法获取趋势：{fault}"),
        # gateways
        "gateways.heading": ("Gateways: connection, and what they had to give up", "网关：连接状态与舍弃的数据"),
        "gateways.unknown": ("Nothing is known of any gateway", "尚无网关信息"),
        "gateways.hint": (
            "Thinned: of each interval the first, last, lowest and highest stay, and all that is not good.",
            "抽稀：每个时段保留首、末、最低和最高读数以及所有非正常读数。",
        ),
        "gateways.gateway": ("Gateway", "网关"),
        "gateways.connection": ("Connection", "连接"),
        "gateways.online": ("online", "在线"),
        "gateways.offline": ("offline", "离线"),
        "gateways.last_payload": ("Last message", "最近消息"),
        "gateways.thinned": ("Thinned", "抽稀"),
        "gateways.discarded": ("Dropped", "丢弃"),
        "gateways.discarded_samples": ("Waveform samples", "波形采样"),
        "gateways.failed_commits": ("Failed disk writes", "磁盘写入失败"),
        "gateways.set_aside": ("Broken files", "损坏文件"),
        "gateways.since": ("Told", "报告时间"),
        "gateways.more": ("and {count} more", "另有 {count} 台"),
        # quarantine
        "quarantine.heading": ("Quarantine: bad input that was set aside", "隔离区：被搁置的异常输入"),
        "quarantine.reason": ("Reason", "原因"),
        "quarantine.count": ("Count", "数量"),
        "quarantine.received": ("Received", "接收时间"),
        "quarantine.topic": ("Topic", "主题"),
        "quarantine.detail": ("Detail", "详情"),
        "quarantine.empty": ("Nothing in quarantine", "隔离区为空"),
        "quarantine.failed": ("Quarantine not available: {fault}", "无法获取隔离区：{fault}"),
        # upstream faults
        "fault.down": ("the service does not answer", "服务无应答"),
        "fault.refused": ("the service refused", "服务拒绝"),
        # sign-in
        "login.heading": ("Sign in", "登录"),
        "login.name": ("Your name", "姓名"),
        "login.password": ("One-time password", "一次性密码"),
        "login.submit": ("Sign in", "登录"),
        "login.hint": (
            "An operator issues one with “city-console issue-password”, or from a signed-in page.",
            "由运维人员用 “city-console issue-password” 生成，或在已登录的页面上生成。",
        ),
        "login.failed": (
            "Not signed in: the password is unknown, used up, expired, or another person's.",
            "登录失败：密码无效、已使用、已过期或属于他人。",
        ),
        "login.throttled": (
            "Too many failed attempts. Wait {seconds} s.",
            "失败次数过多，请等待 {seconds} 秒。",
        ),
        "login.bad_name": ("Give your name: 1 to 64 characters.", "请输入姓名：1 至 64 个字符。"),
        "device.heading": ("One-time password for another device", "其他设备的一次性密码"),
        "device.body": (
            "Sign in there as {name} with this password. It works once, until {time}.",
            "在该设备上以 {name} 的身份使用此密码登录。仅可使用一次，{time} 前有效。",
        ),
        "unit.second": ("s", "秒"),
        "unit.minute": ("min", "分"),
        "unit.hour": ("h", "时"),
        "unit.day": ("d", "天"),
    }
)

_REASONS_ZH: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.OK: "正常",
        Reason.CLOCK_SUSPECT: "网关时钟未同步",
        Reason.STEP_SUSPECT: "变化速度超出该物理量的可能范围：请对照邻近测点",
        Reason.FLAT_LINE: "数值长时间不变：传感器可能卡死",
        Reason.INCOMPLETE: "该秒采样数据不完整：请检查线路",
        Reason.NO_ANSWER: "无应答：请检查设备电源、地址和接线",
        Reason.CRC_ERROR: "线路数据损坏（校验错误）：请检查终端电阻、屏蔽和波特率",
        Reason.MALFORMED_FRAME: "应答不符合该协议的帧格式",
        Reason.LINE_LOST: "线路无法打开：端口不存在或连接被拒绝",
        Reason.MODBUS_ILLEGAL_FUNCTION: "Modbus 异常 1：未知功能码",
        Reason.MODBUS_ILLEGAL_ADDRESS: "Modbus 异常 2：设备没有该寄存器",
        Reason.MODBUS_ILLEGAL_VALUE: "Modbus 异常 3：长度或数值被拒绝",
        Reason.MODBUS_DEVICE_FAILURE: "Modbus 异常 4：设备在应答时发生故障",
        Reason.MODBUS_DEVICE_BUSY: "Modbus 异常 6：设备忙",
        Reason.MODBUS_GATEWAY_UNAVAILABLE: "Modbus 异常 10 或 11：没有通往设备的路径",
        Reason.MODBUS_EXCEPTION: "标准表之外的 Modbus 异常",
        Reason.WARM_UP: "设备正在预热",
        Reason.INHIBITED: "设备已被抑制",
        Reason.CALIBRATION: "设备正在校准",
        Reason.DEVICE_FAULT: "设备报告自身故障",
        Reason.NOT_INSTALLED: "设备报告此处未安装传感器",
        Reason.OUT_OF_RANGE: "超出仪器或该参数可能的范围",
        Reason.NOT_A_NUMBER: "设备发送了 NaN 或无穷大",
        Reason.BUS_LOST: "网关与该总线断开（DDEATH）",
        Reason.GATEWAY_LOST: "网关离线（NDEATH）",
        Reason.STALE: "超过该通道的时限未收到数据",
    }
)


def _waveform_titles(quantity: str, title: str) -> dict[str, str]:
    """Titles of what is computed from a waveform."""
    features = {
        "rms": "均方根值（去均值）",
        "peak": "峰值（距均值）",
        "peak_to_peak": "峰峰值",
        "minimum": "秒内最小值",
        "maximum": "秒内最大值",
    }
    bins = {
        cycle_quantity(quantity, bin_at): f"{title}循环数，第 {bin_at} 级" for bin_at in range(1, CYCLE_BINS_MAX + 1)
    }
    return {f"{quantity}_{suffix}": f"{title}{words}" for suffix, words in features.items()} | bins


_QUANTITIES_ZH: Final[Mapping[str, str]] = MappingProxyType(
    {
        "methane_lel": "甲烷",
        "carbon_monoxide": "一氧化碳",
        "carbon_dioxide": "二氧化碳",
        "hydrogen_sulfide": "硫化氢",
        "oxygen": "氧气",
        "formaldehyde": "甲醛",
        "pm1": "颗粒物 PM1",
        "pm2_5": "颗粒物 PM2.5",
        "pm10": "颗粒物 PM10",
        "temperature": "温度",
        "relative_humidity": "相对湿度",
        "strain": "应变",
        "acceleration": "加速度",
        "displacement": "位移",
        "tilt": "倾角",
        "level": "液位",
        "pressure": "压力",
        "flow": "流量",
        "wind_speed": "风速",
        "fire_alarm": "火灾报警",
        "wind_direction": "风向",
        "voltage": "电压",
        "current": "电流",
        "fault": "故障",
        "supervisory_alarm": "监管",
        "activation": "启动",
        "activation_feedback": "启动反馈",
        "mains_failure": "主电故障",
        "battery_failure": "备电故障",
        "uplink_failure": "与监控中心通信故障",
        "loop_failure": "监测连接线路故障",
        "combustible_gas": "可燃气体",
        "combustible_gas_path": "可燃气体（光路）",
        "sulfur_hexafluoride": "六氟化硫",
        "event_count": "事件计数",
        "duration": "时长",
        "water_flow": "水流量",
        "ph": "pH 值",
        "chemical_oxygen_demand": "化学需氧量",
        "biochemical_oxygen_demand": "五日生化需氧量",
        "permanganate_index": "高锰酸盐指数",
        "total_organic_carbon": "总有机碳",
        "suspended_solids": "悬浮物",
        "dissolved_oxygen": "溶解氧",
        "conductivity": "电导率",
        "ammonia_nitrogen": "氨氮",
        "total_nitrogen": "总氮",
        "total_phosphorus": "总磷",
        "water_volume": "水量",
        "discharged_mass": "排放量",
        "sulfur_dioxide": "二氧化硫",
        "nitrogen_dioxide": "二氧化氮",
        "nitrogen_monoxide": "一氧化氮",
        "nitrogen_oxides": "氮氧化物",
        "ozone": "臭氧",
        "carbon_monoxide_mass": "一氧化碳（质量浓度）",
        "total_suspended_particles": "总悬浮颗粒物",
        "smoke_dust": "烟尘",
        "non_methane_hydrocarbons": "非甲烷总烃",
        "sound_level": "A 声级",
        "pm4": "颗粒物 PM4",
        "pm1_uncorrected": "颗粒物 PM1（CF=1）",
        "pm2_5_uncorrected": "颗粒物 PM2.5（CF=1）",
        "pm10_uncorrected": "颗粒物 PM10（CF=1）",
        "particles_over_0_3um": "大于 0.3 µm 颗粒数",
        "particles_over_0_5um": "大于 0.5 µm 颗粒数",
        "particles_over_1um": "大于 1 µm 颗粒数",
        "particles_over_2_5um": "大于 2.5 µm 颗粒数",
        "particles_over_5um": "大于 5 µm 颗粒数",
        "particles_over_10um": "大于 10 µm 颗粒数",
        "particles_to_0_5um": "0.3–0.5 µm 颗粒数",
        "particles_to_1um": "0.3–1 µm 颗粒数",
        "particles_to_2_5um": "0.3–2.5 µm 颗粒数",
        "particles_to_4um": "0.3–4 µm 颗粒数",
        "particles_to_10um": "0.3–10 µm 颗粒数",
        "particle_size": "典型粒径",
        "formaldehyde_mass": "甲醛（质量浓度）",
        "air_quality_index": "室内空气质量指数",
        "gas_resistance": "气敏电阻",
        "air_pressure": "气压",
        "altitude": "海拔",
        "wind_speed_min": "最小风速",
        "wind_speed_max": "最大风速",
        "wind_direction_min": "最小风向",
        "wind_direction_max": "最大风向",
        "dew_point": "露点",
        "water_temperature": "水温",
        "indoor_temperature": "室内温度",
        "indoor_relative_humidity": "室内相对湿度",
        "device_temperature": "设备温度",
        "heating_temperature": "加热温度",
        "heating_voltage": "加热电压",
        "supply_voltage": "供电电压",
        "reference_voltage": "参考电压",
        "battery_voltage": "电池电压",
        "rainfall": "降雨量",
        "rain_duration": "降雨时长",
        "rain_intensity": "降雨强度",
        "rain_intensity_peak": "最大降雨强度",
        "hail": "冰雹击打数",
        "hail_duration": "冰雹时长",
        "hail_intensity": "冰雹强度",
        "hail_intensity_peak": "最大冰雹强度",
        "solar_radiation": "太阳辐射",
        "uv_index": "紫外线指数",
        "water_colour": "水色度",
        "faecal_coliforms": "粪大肠菌群",
        "bacteria": "细菌总数",
        "gross_alpha_activity": "总α放射性",
        "gross_beta_activity": "总β放射性",
        "ringelmann_blackness": "林格曼黑度",
        "flue_gas_velocity": "烟气流速",
        "flue_gas_humidity": "烟气湿度",
        "cooling_temperature": "制冷温度",
        "duct_area": "烟道截面积",
        "dynamic_pressure": "烟气动压",
        "furnace_temperature": "炉膛焚烧平均温度",
        "furnace_control_temperature": "炉膛DCS温度",
        "dustfall": "降尘",
        "sound_level_l5": "累计百分声级 L5",
        "sound_level_l10": "累计百分声级 L10",
        "sound_level_l50": "累计百分声级 L50",
        "sound_level_l90": "累计百分声级 L90",
        "sound_level_l95": "累计百分声级 L95",
        "sound_level_day_night": "昼夜等效声级",
        "sound_level_day": "昼间等效声级",
        "sound_level_night": "夜间等效声级",
        "sound_level_max": "最大瞬时声级",
        "sound_level_min": "最小瞬时声级",
        **SUBSTANCE_TITLES_ZH,
        **_waveform_titles("strain", "应变"),
        **_waveform_titles("acceleration", "加速度"),
        **_waveform_titles("displacement", "位移"),
    }
)


@dataclass(frozen=True, slots=True)
class Wording:
    """The texts in one language; `wording("alarms.none")`."""

    language: Language

    def __call__(self, key: str, **fields: object) -> str:
        """The text of `key`, filled. Raises KeyError for an unknown key or a missing field."""
        english, chinese = TEXTS[key]
        return (english if self.language is Language.EN else chinese).format(**fields)

    def reason(self, wire_name: str) -> str:
        """What a quality reason means; its wire name if the contract does not know it."""
        reason = parse_reason(wire_name)
        if reason is None:
            return wire_name
        if self.language is Language.ZH:
            return _REASONS_ZH.get(reason, REASONS[reason].text)
        return REASONS[reason].text

    def detector(self, kind: ConditionInput) -> str:
        """The short name of whoever makes a score: `novelty`."""
        return self(f"score.{kind.value}")

    def quantity(self, name: str) -> str:
        """A quantity's title; its name if the contract does not know it."""
        row = QUANTITIES.get(name)
        if row is None:
            return name
        return _QUANTITIES_ZH.get(name, row.title) if self.language is Language.ZH else row.title


def choose_language(asked: str | None, remembered: str | None, accept_language: str | None) -> Language:
    """What the address asks for, else the cookie's, else the browser's first that we have, else English."""
    for wish in (asked, remembered):
        if wish in {language.value for language in Language}:
            return Language(wish)
    for tag in _rank_tags(accept_language or ""):
        primary = tag.partition("-")[0]
        if primary in {language.value for language in Language}:
            return Language(primary)
    return Language.EN


def _rank_tags(accept_language: str) -> list[str]:
    """Tags of an Accept-Language header (RFC 9110, section 12.5.4), most wanted first; refused ones left out."""
    ranked = []
    for position, element in enumerate(accept_language.split(",")):
        tag, _, weight = element.partition(";")
        quality = _parse_weight(weight)
        if tag.strip() and quality > 0:
            ranked.append((-quality, position, tag.strip().lower()))
    return [tag for _, _, tag in sorted(ranked)]


def _parse_weight(text: str) -> float:
    name, _, number = text.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(number)
    except ValueError:
        return 0.0
