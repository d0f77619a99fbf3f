defmodule DSPex.Native.Adapter.Validate.Dates do
  @moduledoc false
  # Dates, times, durations, decimals and UUIDs; results are tagged texts in ISO 8601.

  alias DSPex.Native.Adapter.Validate.Outcome
  alias DSPex.Native.Python

  @date ~S"(\d{4})-(\d{2})-(\d{2})"
  @clock ~S"(\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?"
  @zone ~S"(Z|z|[+−-]\d{2}:?\d{2})?"
  @datetime Regex.compile!("\\A#{@date}(?:[Tt _]#{@clock}#{@zone})?\\z", "u")
  @time Regex.compile!("\\A#{@clock}#{@zone}\\z", "u")
  # Above it a Unix time counts milliseconds.
  @watershed 20_000_000_000

  @doc false
  @spec run(Python.value(), String.t()) :: Outcome.result()
  def run({tag, _text} = value, name) when tag in [:datetime, :date, :time, :timedelta, :decimal, :uuid],
    do: if(fits?(tag, name), do: {:ok, value, 2, nil}, else: converted(value, name))

  def run(value, "datetime.datetime"), do: result(datetime(value), value, "a date and time is expected")
  def run(value, "datetime.date"), do: result(date(value), value, "a date is expected")
  def run(value, "datetime.time"), do: result(time(value), value, "a time is expected")
  def run(value, "datetime.timedelta"), do: result(duration(value), value, "a duration is expected")
  def run(value, "decimal.Decimal"), do: result(decimal(value), value, "a decimal number is expected")
  def run(value, "uuid.UUID"), do: result(uuid(value), value, "a UUID is expected")

  defp fits?(tag, name), do: name |> String.split(".") |> List.last() |> String.downcase() == Atom.to_string(tag)

  defp converted({:date, text}, "datetime.datetime"), do: lax({:datetime, text <> "T00:00:00"})
  defp converted({:datetime, text} = value, "datetime.date"), do: result(date(text), value, "a date is expected")
  defp converted(value, name), do: Outcome.wrong("a value of #{name} is expected", value)

  defp result({:ok, value}, _given, _what), do: lax(value)
  defp result(:error, given, what), do: Outcome.wrong(what, given)

  defp lax(value), do: {:ok, value, 0, nil}

  defp datetime(value) when is_number(value), do: unix(value)

  defp datetime(value) when is_binary(value) do
    case Regex.run(@datetime, value) do
      [_all | parts] -> iso(parts)
      nil -> value |> numeric() |> unix()
    end
  end

  defp datetime(_value), do: :error

  defp iso([year, month, day | clock]) do
    with {:ok, date} <- new_date(year, month, day),
         {:ok, time, zone} <- clock(clock) do
      {:ok, {:datetime, "#{Date.to_iso8601(date)}T#{time}#{zone}"}}
    end
  end

  defp new_date("0000", _month, _day), do: :error

  defp new_date(year, month, day) do
    with {:error, _reason} <- Date.new(String.to_integer(year), String.to_integer(month), String.to_integer(day)),
         do: :error
  end

  defp clock([]), do: {:ok, "00:00:00", ""}

  defp clock([hour, minute | rest]) do
    second = present(Enum.at(rest, 0), "00")
    micro = rest |> Enum.at(1) |> present("") |> String.pad_trailing(6, "0") |> String.slice(0, 6)

    with {:ok, _time} <- Time.new(String.to_integer(hour), String.to_integer(minute), String.to_integer(second)),
         {:ok, zone} <- rest |> Enum.at(2) |> present("") |> zone() do
      fraction = if micro == "000000", do: "", else: "." <> micro
      {:ok, "#{hour}:#{minute}:#{second}#{fraction}", zone}
    else
      _error -> :error
    end
  end

  defp present(text, default) when text in [nil, ""], do: default
  defp present(text, _default), do: text

  defp zone(""), do: {:ok, ""}
  defp zone(zone) when zone in ["Z", "z"], do: {:ok, "+00:00"}

  defp zone(zone) do
    <<sign::utf8, digits::binary>> = zone
    digits = String.replace(digits, ":", "")
    <<hours::binary-size(2), minutes::binary-size(2)>> = digits

    if String.to_integer(hours) < 24 and String.to_integer(minutes) < 60,
      do: {:ok, "#{if sign == ?+, do: "+", else: "-"}#{hours}:#{minutes}"},
      else: :error
  end

  defp numeric(text) do
    if Regex.match?(~r/\A[+-]?(\d+|\d*\.\d*([eE][+-]?\d+)?)\z/, text),
      do: with({:ok, number} <- Python.float(text), do: number),
      else: :error
  end

  defp unix(value) when is_number(value) do
    seconds = if abs(value) > @watershed, do: value / 1000, else: value

    case DateTime.from_unix(round(seconds * 1_000_000), :microsecond) do
      {:ok, %{year: year} = datetime} when year > 0 -> {:ok, Python.from_elixir(datetime)}
      _beyond -> :error
    end
  end

  defp unix(_other), do: :error

  defp date(value) when is_binary(value) do
    with {:ok, {:datetime, <<date::binary-size(10), ?T, rest::binary>>}} <- datetime(value),
         true <- String.starts_with?(rest, "00:00:00") and not String.contains?(rest, ".") do
      {:ok, {:date, date}}
    else
      _other -> :error
    end
  end

  defp date(value) when is_number(value) do
    with {:ok, {:datetime, text}} <- unix(value), do: date(text)
  end

  defp date(_value), do: :error

  defp time(value) when is_binary(value) do
    with [_all | parts] <- Regex.run(@time, value), {:ok, time, zone} <- clock(parts) do
      {:ok, {:time, time <> zone}}
    else
      _other -> :error
    end
  end

  # Seconds since midnight, in UTC.
  defp time(value) when is_number(value) and value >= 0 and value < 86_400 do
    with {:ok, {:datetime, <<_date::binary-size(11), time::binary>>}} <- unix(value), do: {:ok, {:time, time}}
  end

  defp time(_value), do: :error

  @number ~S"(\d+(?:[.,]\d+)?)"
  @iso_duration Regex.compile!(
                  "\\A([+-]?)P(?=[\\dT])(?:#{@number}Y)?(?:#{@number}M)?(?:#{@number}W)?(?:#{@number}D)?" <>
                    "(?:T(?=\\d)(?:#{@number}H)?(?:#{@number}M)?(?:#{@number}S)?)?\\z"
                )
  @days ~r/\A([+-]?)(\d+) ?(?:days|day|d)\z/i
  @days_clock ~r/\A([+-]?)(\d+) ?(?:days|day|d),? ?(?=.{5})([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:[.,](\d{1,9}))?)?\z/i
  @clock_only ~r/\A([+-]?)()(\d+):([0-5]\d)(?::([0-5]\d)(?:[.,](\d{1,9}))?)?\z/
  @units [365 * 86_400, 30 * 86_400, 7 * 86_400, 86_400, 3600, 60, 1]
  @longest 999_999_999 * 86_400

  defp duration(value) when is_boolean(value), do: duration(if value, do: 1, else: 0)
  defp duration(value) when is_number(value) and abs(value) > @longest, do: :error
  defp duration(value) when is_number(value), do: {:ok, {:timedelta, seconds(value)}}

  defp duration(value) when is_binary(value) do
    with :error <- iso_duration(Regex.run(@iso_duration, value)),
         :error <- clock_duration(Regex.run(@days, value)),
         :error <- clock_duration(Regex.run(@days_clock, value)),
         do: clock_duration(Regex.run(@clock_only, value))
  end

  defp duration(_value), do: :error

  defp iso_duration([_all, sign | parts]) when parts != [] do
    sum = parts |> Enum.zip(@units) |> Enum.map(fn {part, unit} -> part(part) * unit end) |> Enum.sum()
    duration(signed(sign, sum))
  end

  defp iso_duration(_none), do: :error

  defp clock_duration([_all, sign, days | clock]) do
    [hours, minutes, seconds, fraction] = Enum.take(clock ++ ["", "", "", ""], 4)
    micro = fraction |> String.pad_trailing(6, "0") |> binary_part(0, 6) |> String.to_integer()
    whole = part(days) * 86_400 + part(hours) * 3600 + part(minutes) * 60 + part(seconds)
    duration(signed(sign, if(micro == 0, do: whole, else: whole + micro / 1_000_000)))
  end

  defp clock_duration(nil), do: :error

  defp part(""), do: 0

  defp part(digits) do
    {:ok, number} = digits |> String.replace(",", ".") |> Python.float()
    if trunc(number) == number, do: trunc(number), else: number
  end

  defp signed("-", seconds), do: -seconds
  defp signed(_sign, seconds), do: seconds

  defp seconds(value) do
    {days, rest} = {div(trunc(value), 86_400), value - div(trunc(value), 86_400) * 86_400}
    sign = if value < 0, do: "-", else: ""
    "#{sign}P#{if days == 0, do: "", else: "#{abs(days)}D"}T#{abs(rest) |> trim()}S"
  end

  defp trim(value), do: if(trunc(value) == value, do: trunc(value), else: value)

  defp decimal(value) when is_integer(value), do: {:ok, {:decimal, Integer.to_string(value)}}
  defp decimal(value) when is_float(value), do: value |> Python.repr() |> decimal()

  defp decimal(value) when is_binary(value) do
    text = value |> Python.strip() |> String.replace("_", "") |> Python.ascii_digits()

    case Regex.run(~r/\A([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d{1,6}))?\z/, text) do
      [_all, sign, whole, fraction | exponent] when whole <> fraction != "" ->
        {:ok,
         {:decimal,
          if(sign == "-", do: "-", else: "") <> scaled(whole <> fraction, power(exponent) - byte_size(fraction))}}

      _other ->
        :error
    end
  end

  defp decimal(_value), do: :error

  defp power([]), do: 0
  defp power([exponent]), do: String.to_integer(exponent)

  # Python writes a decimal plainly, unless its exponent is positive or very small.
  defp scaled(digits, exponent) do
    digits = digits |> String.to_integer() |> Integer.to_string()
    adjusted = exponent + byte_size(digits) - 1

    cond do
      exponent == 0 -> digits
      exponent < 0 and adjusted >= -6 -> pointed(digits, -exponent)
      true -> "#{mantissa(digits)}E#{if adjusted < 0, do: "", else: "+"}#{adjusted}"
    end
  end

  defp pointed(digits, places) do
    digits = String.pad_leading(digits, places + 1, "0")
    {whole, fraction} = String.split_at(digits, byte_size(digits) - places)
    "#{whole}.#{fraction}"
  end

  defp mantissa(<<digit::binary-size(1)>>), do: digit
  defp mantissa(<<digit::binary-size(1), rest::binary>>), do: "#{digit}.#{rest}"

  defp uuid(value) when is_binary(value) do
    hex =
      value
      |> String.downcase()
      |> String.replace_prefix("urn:uuid:", "")
      |> String.replace(~r/\A\{(.*)\}\z/, "\\1")
      |> then(&if &1 =~ ~r/\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z/, do: String.replace(&1, "-", ""), else: &1)

    case hex =~ ~r/\A[0-9a-f]{32}\z/ && hex do
      <<a::binary-size(8), b::binary-size(4), c::binary-size(4), d::binary-size(4), e::binary>> ->
        {:ok, {:uuid, Enum.join([a, b, c, d, e], "-")}}

      _other ->
        :error
    end
  end

  defp uuid(_value), do: :error
end
