"""What the demo clinic's rows are made of: invented names, places and the clinic's own codes.

Belongs here: values. Does not belong here: rows (``patient_rows``, ``staff_rows``), or what the
codes mean in FHIR (``terminology``).
"""

from typing import NamedTuple

GIVEN_NAMES = (
    "Ada", "Zoë", "Łukasz", "小明", "José", "Ñusta", "Maeve", "Omar", "Priya", "Søren", "Tomás",
    "Ingrid", "Kwame", "Leila", "Noah", "Olga", "Pablo", "Ruth", "Sven", "Uma", "Vera", "Wanda",
    "Yusuf", "Anaïs", "Björn", "Chiara", "Dmitri", "Emeka", "Fatima", "Grace",
)  # fmt: skip
FAMILY_NAMES = (
    "Ashdown", "Brontë", "Çelik", "Dvořák", "Eriksson", "Fernández", "García", "Hollows", "Iversen",
    "Jansen", "Kowalski", "Lindqvist", "Müller", "Ñáñez", "O'Connell", "Peña", "Quill", "Rossi",
    "Szabó", "Thornbury", "Ueda", "Vasquez", "Whitlock", "Xu", "Yilmaz", "Zielińska", "王",
    "Smith-Lee",
)  # fmt: skip
STREETS = ("Alder Way", "Brook Street", "Cedar Lane", "Calle Ñandú", "Dock Road", "Elm Court")
CITIES = (("Ashford", "CT", "06278"), ("Brooks", "OR", "97305"), ("Española", "NM", "87532"))
CLINIC_NAMES = ("Harbor", "Hillside", "Niño Jesús", "Riverside", "Saint Łucja", "Northgate")
CLINIC_KINDS = (
    ("clinic", "Family Clinic"), ("hospital", "Hospital"), ("lab", "Laboratory"),
    ("dept", "Department"),
)  # fmt: skip
ROLES = ("gp", "gp", "nurse", "cardio", "surgeon", "labtech")

CONDITIONS = (
    ("HT001", "Hypertension", "I10"), ("DM002", "Diabetes", "E11"), ("AS003", "Asthma", "J45"),
    ("CP004", "COPD", "J44"), ("HC005", "High cholesterol", "E78.0"),
    ("HY006", "Hypothyroidism", "E03"), ("DP007", "Depression", "F32"), ("AX008", "Anxiety", "F41"),
    ("RF009", "Reflux", "K21"), ("KA010", "Knee arthrosis", "M17"),
    ("AF011", "Atrial fibrillation", "I48"), ("IH012", "Ischaemic heart disease", "I25"),
    ("KD013", "Chronic kidney disease", "N18"), ("MG014", "Migraine", "G43"),
    ("OB015", "Obesity", "E66"), ("AN016", "Iron deficiency", "D50"), ("AR017", "Hay fever", "J30"),
    ("BP018", "Back pain", "M54"), ("FT019", "Fit to travel", None),
)  # fmt: skip
"""Condition id, name and ICD-10 code; the first two are the guide's."""

DRUGS = (
    ("LIS", "Lisinopril 10 mg tablet"), ("MET", "Metformin 500 mg tablet"),
    ("ATO", "Atorvastatin 20 mg tablet"), ("ALB", "Albuterol inhaler"), ("AMX", "Amoxicillin"),
    ("LTX", "Levothyroxine 50 µg tablet"), ("SER", "Sertraline 50 mg tablet"),
    ("IBU", "Ibuprofen 400 mg tablet"), ("HERBAL", "Herbal mixture of the house"),
)  # fmt: skip
DOSES = ("1 tablet daily", "1 tablet twice a day", "2 puffs when needed", "as directed", None)
PRESCRIPTION_STATUSES = ("active", "active", "active", "completed", "stopped", "cancelled")

ENCOUNTER_TYPES = ("checkup", "checkup", "followup", "telehealth", "emergency", "inpatient")
ENCOUNTER_STATUSES = ("finished",) * 17 + ("cancelled", "in-progress", "planned")
NOTES = (
    "Routine visit. No complaints. Blood pressure well controlled.",
    "Sore throat for three days, no fever. Fluids and rest advised.",
    "Patient reports better sleep. Plan unchanged; follow-up in 6 months.",
    "Knee pain on stairs: exercises shown, naïve to NSAIDs. Résumé sent to GP.",
    "Emergency visit: dizziness after standing up. ECG normal (98 %).\nHome with advice.",
    "体温正常。 Family history reviewed; smoking cessation discussed.",
)
OBSERVATION_STATUSES = ("final",) * 9 + ("corrected",)
SMOKING = ("never", "never", "former", "current", "unknown")
URINE_COLOURS = ("straw", "pale yellow", "amber", "dark, slightly cloudy")
CONCLUSIONS = ("Within normal limits.", "Slightly raised; repeat in 3 months.", None)


class Measure(NamedTuple):
    """A numeric observation: the clinic's unit, which values occur and which are normal."""

    unit: str
    low: float
    high: float
    decimals: int
    normal_low: float
    normal_high: float


VITALS = {
    "HT": Measure("cm", 148, 201, 0, 0, 300),
    "WT": Measure("kg", 45, 130, 1, 0, 300),
    "HR": Measure("bpm", 48, 118, 0, 60, 100),
    "TEMP": Measure("C", 35.8, 39.4, 1, 36.1, 37.8),
    "SPO2": Measure("%", 90, 100, 0, 94, 100),
    "RR": Measure("/min", 10, 24, 0, 12, 20),
}
SYSTOLIC = Measure("mmHg", 98, 178, 0, 100, 140)
DIASTOLIC = Measure("mmHg", 58, 104, 0, 60, 90)
LABS = {
    "GLU": Measure("mg/dL", 62, 210, 0, 70, 110),
    "HBA1C": Measure("%", 4.6, 9.8, 1, 4, 6.4),
    "NA": Measure("mmol/L", 130, 148, 0, 135, 145),
    "K": Measure("mmol/L", 3.2, 5.4, 1, 3.5, 5.1),
    "CREAT": Measure("mg/dL", 0.6, 1.9, 2, 0.6, 1.2),
    "CHOL": Measure("mg/dL", 130, 290, 0, 0, 200),
    "HDL": Measure("mg/dL", 30, 85, 0, 40, 100),
    "LDL": Measure("mg/dL", 60, 190, 0, 0, 130),
    "TRIG": Measure("mg/dL", 50, 320, 0, 0, 150),
    "HGB": Measure("g/dL", 9.5, 17.5, 1, 12, 17),
    "WBC": Measure("K/uL", 3.1, 13.9, 1, 4, 11),
    "PLT": Measure("K/uL", 120, 460, 0, 150, 400),
}
PANELS = {
    "CBC": ("HGB", "WBC", "PLT"),
    "BMP": ("GLU", "NA", "K", "CREAT"),
    "LIPID": ("CHOL", "HDL", "LDL", "TRIG"),
}
"""Which lab values a diagnostic report is made of."""
