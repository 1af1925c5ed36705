"""What is written on the pictures of the reader: lines of English and Chinese, made of words, names and numbers.

A tenth of all lines is held out: which, their own hash says, so that no run can have seen one.
"""

import hashlib
import random
from functools import cache
from typing import Literal

from edge.data.world import (
    COLOURS,
    KINDS,
    NAME_HEADS,
    NAME_TAILS,
    PLACE_HEADS,
    PLACE_TAILS,
    THINGS,
    pool,
)

Language = Literal["en", "zh"]
SHARE = 26  # of 256: lines that are held out

# Signs, shops and plain words.
_WORDS = pool("""
open closed push pull exit enter stop wait slow danger caution warning keep out off left right way one please thank
you welcome hello goodbye sale free today tomorrow new old big small hot cold fresh clean wet dry floor door window
room table chair house street road station train bus taxi airport flight gate ticket price total cash card change
receipt menu coffee tea milk sugar bread butter cheese egg rice soup salad fish meat chicken apple banana orange lemon
cake juice water wine beer breakfast lunch dinner kitchen garden park school class teacher student paper pen letter
number name date time day week month year monday tuesday wednesday thursday friday saturday sunday january march april
june july august october december morning evening night spring summer autumn winter sun moon star rain snow wind cloud
sky sea river lake mountain forest tree flower bird dog cat horse music song dance movie story game sport ball winner
happy quick quiet strong bright light dark heavy simple safe power energy engine motor battery screen phone computer
keyboard network model system error ready start begin finish level score zone north south east west upper lower first
second third last next back front inside outside black white quality service market bank hotel museum library hospital
doctor police fire office shop store bakery pharmacy
""")
# Signs, food, places and plain words, of which each character is taught in every font.
_CHINESE = pool("""
你好 谢谢 再见 欢迎 光临 请勿 吸烟 禁止 入口 出口 小心 地滑 安全 通道 注意 危险 停车 洗手间 男女 开门 关门 推拉
营业 时间 上午 下午 中午 早上 晚上 今天 明天 昨天 星期 一二 三四 五六 七八 九十 百千 万元 年月 日期 分钟 小时
春夏 秋冬 东西 南北 左右 前后 中间 里外 大小 多少 高低 长短 新旧 冷热 快慢 红色 黄色 蓝色 绿色 白色 黑色 紫色
北京 上海 中国 广州 城市 国家 世界 火车 地铁 机场 汽车 公交 车站 船票 飞机 道路 街道 学校 老师 学生 同学 教室
图书 医院 医生 银行 商店 超市 市场 饭店 酒店 餐厅 菜单 价格 合计 现金 找零 收银 小票 电话 号码 地址 姓名 先生
女士 孩子 朋友 家人 爸爸 妈妈 哥哥 姐姐 弟弟 妹妹 我们 他们 大家 自己 什么 怎么 哪里 可以 不是 没有 知道 喜欢
希望 工作 学习 生活 休息 运动 音乐 电影 电视 电脑 手机 网络 文字 语言 汉字 英文 书本 报纸 铅笔 桌子 椅子 房间
窗户 厨房 花园 树木 草地 山水 河流 大海 天空 太阳 月亮 星光 风雨 雪花 云彩 牛奶 面包 米饭 面条 鸡蛋 鱼肉 牛肉
羊肉 苹果 香蕉 西瓜 葡萄 茶叶 咖啡 果汁 白糖 盐油 豆腐 青菜 土豆 饺子 包子 点心 蛋糕 水果 动物 小狗 小猫 马牛
鸟虫 衣服 裤子 鞋帽 毛巾 雨伞 眼睛 耳朵 头发 身体 心情 快乐 平安 健康 幸福 美丽 聪明 努力 成功 开始 结束 第一
最后 问题 回答 方法 科学 技术 数学 历史 文化 经济 社会 政府 法律 人民 服务 质量 产品 公司 经理 会议 计划 信息
系统 模型 数据 能源 动力 空气 温度 速度 重量 面积 形状 圆形 方形 三角 位置 图片 照片 颜色 金银 钱包 礼物 节日
生日 祝你 万事 如意 恭喜 发财 保持 清洁 爱护 环境 节约 用水 随手 关灯 请进 排队 等候 免费 打折 特价 全场 每位
""")
_GOODS = pool("""
tea milk sugar bread butter cheese egg rice soup salad fish meat chicken apple banana orange lemon cake juice water
wine beer pen paper stamp soap towel battery cable ticket coffee flowers honey pasta
""")
_CHINESE_GOODS = pool("""
牛奶 面包 米饭 面条 鸡蛋 鱼肉 牛肉 羊肉 苹果 香蕉 西瓜 葡萄 茶叶 咖啡 果汁 白糖 豆腐 青菜 土豆 饺子 包子 蛋糕 报纸 铅笔
毛巾 雨伞 鞋帽 手机 图书 电脑
""")
_ENDS = (".", "!", "?", ":")
_STOPS = ("。", "！", "？")


def held_out(text: str) -> bool:
    """Whether no lesson may have this line."""
    return hashlib.sha256(text.encode()).digest()[0] < SHARE


@cache
def letters(language: Language) -> str:
    """Every letter that lines of a language are written in."""
    if language == "zh":
        return "".join(sorted({*"".join(_CHINESE), *"".join(_STOPS), *"，：￥", *"0123456789"}))
    return "".join(chr(code) for code in range(33, 127))


def line(rng: random.Random, language: Language, longest: int, *, held: bool) -> str:
    """A line of at most so many letters, held out or not."""
    while True:
        made = _english(rng, longest) if language == "en" else _chinese(rng, longest)
        if held_out(made) == held:
            return made


def thing(rng: random.Random, language: Language) -> str:
    """What may be for sale, or the name of who sells it."""
    known = rng.random() < 0.6
    if language == "en":
        return (rng.choice((*THINGS, *_GOODS)) if known else _made_up(rng)).capitalize()
    return rng.choice(_CHINESE_GOODS) if known else _characters(rng, 2)


def price(rng: random.Random) -> str:
    return f"{rng.choice((rng.randrange(10), rng.randrange(100)))}.{rng.randrange(100):02}"


def _english(rng: random.Random, longest: int) -> str:
    count = rng.choice((1, 1, 2, 2, 3, 4))
    made, upper = "", rng.random()
    for _ in range(count):
        more = _piece(rng)
        more = more.upper() if upper < 0.2 else more.capitalize() if upper < 0.5 else more
        joined = f"{made} {more}".strip()
        if len(joined) > longest:
            break
        made = joined
    if not made:
        return _piece(rng)[:longest]
    return made + rng.choice(_ENDS) if rng.random() < 0.15 and len(made) < longest else made


def _piece(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.38:
        return rng.choice(_WORDS)
    if kind < 0.5:
        return rng.choice((*COLOURS, *THINGS, *KINDS))
    if kind < 0.75:
        return _made_up(rng)
    return _number(rng)


def _made_up(rng: random.Random) -> str:
    """A word that nobody knows: it can only be read."""
    if rng.random() < 0.3:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 6)))
    heads, tails = rng.choice(((NAME_HEADS, NAME_TAILS), (PLACE_HEADS, PLACE_TAILS)))
    return (rng.choice(heads) + rng.choice(tails)).lower()


def _number(rng: random.Random) -> str:
    made = (
        str(rng.randrange(10 ** rng.randint(1, 5))),
        price(rng),
        f"${price(rng)}",
        f"{rng.randint(1, 12)}/{rng.randint(1, 28)}/{rng.randint(1990, 2039)}",
        f"{rng.randint(0, 23)}:{rng.randrange(60):02}",
        f"{rng.randrange(101)}%",
        f"{rng.choice('ABCDEFGHKLMNPRSTUVWXYZ')}-{rng.randrange(1000)}",
        f"#{rng.randrange(100)}",
        f"({rng.randrange(100)})",
        f"{rng.randrange(30)}+{rng.randrange(30)}={rng.randrange(60)}",
        "&",
        f"{_made_up(rng)}@{rng.choice(_WORDS)}.com",
        f"{rng.choice(_WORDS)}'s",
        f"{rng.choice(_WORDS)},",
        f"{rng.choice(_WORDS)}_{rng.randrange(10)}",
        f"*{rng.choice(_WORDS)}*",
    )
    return rng.choice(made)


def _chinese(rng: random.Random, longest: int) -> str:
    made = ""
    for _ in range(rng.choice((1, 2, 2, 3, 4))):
        kind = rng.random()
        if kind < 0.45:
            more = rng.choice(_CHINESE)
        elif kind < 0.9:
            more = _characters(rng, rng.randint(1, 4))
        else:
            more = rng.choice((str(rng.randrange(1000)), "，", "：", f"￥{rng.randrange(100)}"))
        if len(made + more) > longest:
            break
        made += more
    made = made or _characters(rng, min(2, longest))
    return made + rng.choice(_STOPS) if rng.random() < 0.1 and len(made) < longest else made


def _characters(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(_singles()) for _ in range(count))


@cache
def _singles() -> str:
    return "".join(sorted({*"".join(_CHINESE)}))
