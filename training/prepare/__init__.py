"""Data preparation: videos of people to square clips that are framed as the sender frames its camera.

     published list, folder         python -m training.prepare NAME
             |
    [talkinghead, metadata,   plan: which stretches of which videos, with identity and partition where published
     voxceleb, folder]
             v
    [download]                a listed video that is not there yet (yt-dlp)
             v
    [video]                   pictures of a stretch, upright, at most so many a second, scene cuts marked
             v
    [follow, cut]             codec.face as in a call: track, square, crop; a clip ends at cuts and where the face goes
             v
    [clip_file]               H.264
             v
    [record]                  what became of each stretch: resumes from here
             v
    [identity, split]         who is who (published, named, or by face), and who is in train, val and test
             v
    [place]                   train/ val/ test/ with GROUP-...mp4, manifest.csv, left_out.csv

``executor`` maps [download] to [record] over processes of this machine or over Ray; ``run`` holds it together.
"""
