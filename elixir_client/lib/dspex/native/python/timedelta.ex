defmodule DSPex.Native.Python.Timedelta do
  @moduledoc false
  # Python's text forms of a duration in ISO 8601: days may be negative, seconds and microseconds never are.

  @form ~r/\A(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?(?:e-?\d+)?)S)?)?\z/

  @doc "Python's `str`: `-1 day, 23:59:59.500000`. What is no duration stays as it is."
  @spec str(String.t()) :: String.t()
  def str(text) do
    case parts(text) do
      :error ->
        text

      {days, seconds, micro} ->
        clock = "#{div(seconds, 3600)}:#{two(rem(div(seconds, 60), 60))}:#{two(rem(seconds, 60))}"
        day_text(days) <> clock <> if(micro == 0, do: "", else: "." <> padded(micro, 6))
    end
  end

  @doc "Python's `repr`: `datetime.timedelta(days=-1, seconds=86399, microseconds=500000)`."
  @spec repr(String.t()) :: String.t()
  def repr(text) do
    case parts(text) do
      :error -> "datetime.timedelta(#{text})"
      {0, 0, 0} -> "datetime.timedelta(0)"
      parts -> "datetime.timedelta(#{parts |> named() |> Enum.join(", ")})"
    end
  end

  @doc "The duration in seconds; 0 for what is no duration."
  @spec seconds(String.t()) :: number
  def seconds(text) do
    case parts(text) do
      :error -> 0
      {days, seconds, 0} -> days * 86_400 + seconds
      {days, seconds, micro} -> days * 86_400 + seconds + micro / 1_000_000
    end
  end

  defp named({days, seconds, micro}) do
    for {name, count} <- [{"days", days}, {"seconds", seconds}, {"microseconds", micro}],
        count != 0,
        do: "#{name}=#{count}"
  end

  defp parts(text) do
    case Regex.run(@form, text) do
      [_all, sign | parts] ->
        [days, hours, minutes, seconds] = Enum.take(parts ++ ["", "", "", ""], 4)
        whole = (whole(days) * 24 + whole(hours)) * 3600 + whole(minutes) * 60
        total = whole * 1_000_000 + micro(seconds)
        split(if(sign == "-", do: -total, else: total))

      nil ->
        :error
    end
  end

  defp split(total) do
    seconds = Integer.floor_div(total, 1_000_000)
    {Integer.floor_div(seconds, 86_400), Integer.mod(seconds, 86_400), Integer.mod(total, 1_000_000)}
  end

  defp whole(""), do: 0
  defp whole(digits), do: String.to_integer(digits)

  defp micro(""), do: 0

  defp micro(seconds) do
    {value, ""} = Float.parse(seconds)
    round(value * 1_000_000)
  end

  defp day_text(0), do: ""
  defp day_text(days) when days in [1, -1], do: "#{days} day, "
  defp day_text(days), do: "#{days} days, "

  defp two(number), do: padded(number, 2)
  defp padded(number, width), do: number |> Integer.to_string() |> String.pad_leading(width, "0")
end
